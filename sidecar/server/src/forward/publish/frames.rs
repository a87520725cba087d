use bytes::{Buf as _, Bytes, BytesMut};

/// Compressed or not, and the length.
const PREFIX_BYTES: usize = 5;

/// Cuts what arrives into messages of gRPC.
#[derive(Debug)]
pub(crate) struct Frames {
    arrived: BytesMut,
    message_bytes_max: usize,
}

/// One message with the prefix that it came with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(super) framed: Bytes,
}

/// A message says that it is longer than allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a message of {bytes} bytes, the limit is {limit_bytes}")]
pub(crate) struct TooLong {
    pub(crate) bytes: usize,
    pub(crate) limit_bytes: usize,
}

impl Frames {
    pub(crate) fn new(message_bytes_max: usize) -> Self {
        Self {
            arrived: BytesMut::new(),
            message_bytes_max,
        }
    }

    pub(crate) fn push(&mut self, data: &Bytes) {
        self.arrived.extend_from_slice(data);
    }

    /// The next message that has arrived completely.
    pub(crate) fn next(&mut self) -> Result<Option<Message>, TooLong> {
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
    pub(crate) fn content(&self) -> Option<Bytes> {
        let compressed = self.framed.first().is_none_or(|flag| *flag != 0);
        let content = || self.framed.slice(PREFIX_BYTES.min(self.framed.len())..);
        (!compressed).then(content)
    }

    /// The same with `field` put in front.
    pub(crate) fn with_field(&self, field: &Bytes) -> Option<Self> {
        Some(Self::new(&[field.clone(), self.content()?]))
    }

    /// A message out of its encoded parts. In protobuf the concatenation of two encoded
    /// messages is their union.
    pub(crate) fn new(parts: &[Bytes]) -> Self {
        let bytes: usize = parts.iter().map(Bytes::len).sum();
        let mut framed = BytesMut::with_capacity(PREFIX_BYTES + bytes);
        framed.extend_from_slice(&[0]);
        // More than 4 GiB is never read, so it is never put together.
        let length = u32::try_from(bytes).unwrap_or(u32::MAX);
        framed.extend_from_slice(&length.to_be_bytes());
        for part in parts {
            framed.extend_from_slice(part);
        }
        Self {
            framed: framed.freeze(),
        }
    }

    /// The message as it goes over the wire.
    pub(crate) fn bytes(&self) -> Bytes {
        self.framed.clone()
    }
}
