use bytes::{Buf as _, Bytes, BytesMut};

/// Compressed or not, and the length.
const PREFIX_BYTES: usize = 5;

/// Cuts what arrives into messages of gRPC.
#[derive(Debug)]
pub(super) struct Frames {
    arrived: BytesMut,
    message_bytes_max: usize,
}

/// One message with the prefix that it came with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) framed: Bytes,
}

/// A message says that it is longer than allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a message of {bytes} bytes, the limit is {limit_bytes}")]
pub(super) struct TooLong {
    pub(super) bytes: usize,
    pub(super) limit_bytes: usize,
}

impl Frames {
    pub(super) fn new(message_bytes_max: usize) -> Self {
        Self {
            arrived: BytesMut::new(),
            message_bytes_max,
        }
    }

    pub(super) fn push(&mut self, data: &Bytes) {
        self.arrived.extend_from_slice(data);
    }

    /// The next message that has arrived completely.
    pub(super) fn next(&mut self) -> Result<Option<Message>, TooLong> {
        let Some((_, mut length)) = self.arrived.split_at_checked(1) else {
            return Ok(None);
        };
        let Ok(bytes) = length.try_get_u32() else {
            return Ok(None);
        };
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        if bytes > self.message_bytes_max {
            return Err(TooLong {
                bytes,
                limit_bytes: self.message_bytes_max,
            });
        }
        let framed_bytes = PREFIX_BYTES.saturating_add(bytes);
        if self.arrived.len() < framed_bytes {
            self.arrived.reserve(framed_bytes - self.arrived.len());
            return Ok(None);
        }
        let framed = self.arrived.split_to(framed_bytes).freeze();
        Ok(Some(Message { framed }))
    }
}

impl Message {
    /// The encoded message; `None` when it is compressed.
    pub(super) fn content(&self) -> Option<Bytes> {
        let compressed = self.framed.first().is_none_or(|flag| *flag != 0);
        let content = || self.framed.slice(PREFIX_BYTES.min(self.framed.len())..);
        (!compressed).then(content)
    }

    /// The same with `field` put in front. In protobuf the concatenation of two encoded
    /// messages is their union.
    pub(super) fn with_field(&self, field: &Bytes) -> Option<Self> {
        let content = self.content()?;
        let bytes = u32::try_from(field.len() + content.len()).ok()?;
        let mut framed = BytesMut::with_capacity(PREFIX_BYTES + field.len() + content.len());
        framed.extend_from_slice(&[0]);
        framed.extend_from_slice(&bytes.to_be_bytes());
        framed.extend_from_slice(field);
        framed.extend_from_slice(&content);
        Some(Self {
            framed: framed.freeze(),
        })
    }
}
