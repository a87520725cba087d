use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::BufMut as _;
use futures::Stream;
use outrigger_proto::v1;
use tonic::{
    Status,
    codec::{BufferSettings, Codec, EncodeBuf, Encoder},
};
use tonic_prost::{ProstCodec, ProstDecoder};

use super::{frame::EncodedFrame, shared::Shared};

/// The request side of one Publish stream. The connection takes frames straight out of the
/// buffer whenever it can send, so there is no queue in between that would cut batches short.
pub(super) struct Outbound {
    pub(super) shared: Arc<Shared>,
    pub(super) stream: u64,
}

impl Stream for Outbound {
    type Item = EncodedFrame;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<EncodedFrame>> {
        self.shared.buffer().poll_frame(self.stream, context)
    }
}

/// Sends frames that are encoded already, and decodes answers as usual.
pub(super) struct FrameCodec;

pub(super) struct FrameEncoder;

/// Room for a typical frame, so that the buffer need not grow step by step.
const ENCODE_BUFFER_BYTES: usize = 128 * 1024;
const YIELD_THRESHOLD_BYTES: usize = 128 * 1024;

impl Codec for FrameCodec {
    type Encode = EncodedFrame;
    type Decode = v1::PublishResponse;
    type Encoder = FrameEncoder;
    type Decoder = ProstDecoder<v1::PublishResponse>;

    fn encoder(&mut self) -> Self::Encoder {
        FrameEncoder
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstCodec::<v1::PublishRequest, v1::PublishResponse>::default().decoder()
    }
}

impl Encoder for FrameEncoder {
    type Item = EncodedFrame;
    type Error = Status;

    fn encode(&mut self, frame: EncodedFrame, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put_slice(&frame.head);
        to.put_slice(&frame.operations);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(ENCODE_BUFFER_BYTES, YIELD_THRESHOLD_BYTES)
    }
}
