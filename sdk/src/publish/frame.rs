use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use outrigger_proto::v1;
use prost::Message as _;
use tokio::time::Instant;

use super::completion::Completion;

/// The field `operations` of `PublishRequest`.
const OPERATIONS_TAG: u32 = 3;

/// A frame that still takes operations. They are encoded as they come: the caller's
/// thread does the work, and what is kept for a repetition is the bytes themselves.
pub(super) struct OpenFrame {
    encoded: BytesMut,
    operations: usize,
    sends: u64,
    cost_bytes: usize,
    opened_at: Option<Instant>,
    completion: Arc<Completion>,
}

/// A frame ready to go out, and to go out again after a lost connection.
pub(super) struct Frame {
    /// Encoded `operations`; the head is put in front when it is sent.
    operations_encoded: Bytes,
    pub(super) operations: usize,
    pub(super) sends: u64,
    pub(super) cost_bytes: usize,
    pub(super) opened_at: Instant,
    /// Given when the frame goes out for the first time.
    pub(super) first_sequence: Option<u64>,
    pub(super) completion: Arc<Completion>,
}

/// What goes over the wire: an encoded head, then the encoded operations. In protobuf the
/// concatenation of two encoded messages is their union.
pub(super) struct EncodedFrame {
    pub(super) head: Bytes,
    pub(super) operations: Bytes,
}

impl OpenFrame {
    pub(super) fn new(capacity_bytes: usize) -> Self {
        Self {
            encoded: BytesMut::with_capacity(capacity_bytes),
            operations: 0,
            sends: 0,
            cost_bytes: 0,
            opened_at: None,
            completion: Arc::default(),
        }
    }

    /// Returns where the outcome will be.
    pub(super) fn push(
        &mut self,
        operation: &v1::Operation,
        cost_bytes: usize,
    ) -> (Arc<Completion>, usize) {
        prost::encoding::message::encode(OPERATIONS_TAG, operation, &mut self.encoded);
        let index = self.operations;
        self.operations += 1;
        self.cost_bytes += cost_bytes;
        if matches!(operation.kind, Some(v1::operation::Kind::Send(_))) {
            self.sends += 1;
        }
        if self.opened_at.is_none() {
            self.opened_at = Some(Instant::now());
        }
        (Arc::clone(&self.completion), index)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.operations == 0
    }

    pub(super) fn opened_at(&self) -> Option<Instant> {
        self.opened_at
    }

    pub(super) fn operations(&self) -> usize {
        self.operations
    }

    pub(super) fn bytes(&self) -> usize {
        self.encoded.len()
    }

    /// Closes the frame and leaves an empty one of about the same size in its place.
    pub(super) fn take(&mut self) -> Frame {
        let full = std::mem::replace(self, Self::new(self.encoded.len()));
        Frame {
            operations_encoded: full.encoded.freeze(),
            operations: full.operations,
            sends: full.sends,
            cost_bytes: full.cost_bytes,
            opened_at: full.opened_at.unwrap_or_else(Instant::now),
            first_sequence: None,
            completion: full.completion,
        }
    }
}

impl Frame {
    /// The bytes to send; `producer` goes into the first frame of a stream.
    pub(super) fn encode(&self, producer: Option<v1::ProducerIdentity>) -> EncodedFrame {
        let head = v1::PublishRequest {
            producer,
            first_sequence: self.first_sequence.unwrap_or_default(),
            ..Default::default()
        };
        EncodedFrame {
            head: head.encode_to_vec().into(),
            operations: self.operations_encoded.clone(),
        }
    }
}
