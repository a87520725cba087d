use bytes::{BufMut, Bytes};

use crate::wire::{Short, get_u8, get_u32, get_u64};

const VERSION: u8 = 1;

/// Which queue of which topic a consumer group consumes, and in which term of leadership.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The leader's term when the lease was given.
    pub term: u64,
    /// The consumer group's number.
    pub group: u32,
    /// The topic's number.
    pub topic: u32,
    /// The queue's number within the topic.
    pub queue: u32,
}

/// Names one lease. To clients it is opaque bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Receipt {
    /// Where the message is.
    pub place: Place,
    /// Which message.
    pub offset: u64,
    /// Which of its leases: higher is later.
    pub nonce: u64,
    /// Which delivery of the message, 1 for the first.
    pub attempt: u32,
}

/// The bytes are not a receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the receipt is not one that Outrigger gave out")]
pub struct NotAReceipt;

impl From<Short> for NotAReceipt {
    fn from(_: Short) -> Self {
        Self
    }
}

impl Receipt {
    /// How long the compact binary form is.
    pub const ENCODED_BYTES: usize = 1 + 8 + 3 * 4 + 8 + 8 + 4;

    /// The compact binary form.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut to = Vec::with_capacity(Self::ENCODED_BYTES);
        self.encode_to(&mut to);
        to.into()
    }

    /// Appends the compact binary form, of [`Self::ENCODED_BYTES`].
    pub fn encode_to(&self, to: &mut impl BufMut) {
        to.put_u8(VERSION);
        to.put_u64_le(self.place.term);
        to.put_u32_le(self.place.group);
        to.put_u32_le(self.place.topic);
        to.put_u32_le(self.place.queue);
        to.put_u64_le(self.offset);
        to.put_u64_le(self.nonce);
        to.put_u32_le(self.attempt);
    }

    /// Reads the compact binary form.
    ///
    /// # Errors
    /// When the bytes have another length or version.
    pub fn decode(from: &[u8]) -> Result<Self, NotAReceipt> {
        let mut from = from;
        let version = get_u8(&mut from)?;
        if version != VERSION || from.len() != Self::ENCODED_BYTES - 1 {
            return Err(NotAReceipt);
        }
        let place = Place {
            term: get_u64(&mut from)?,
            group: get_u32(&mut from)?,
            topic: get_u32(&mut from)?,
            queue: get_u32(&mut from)?,
        };
        Ok(Self {
            place,
            offset: get_u64(&mut from)?,
            nonce: get_u64(&mut from)?,
            attempt: get_u32(&mut from)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survives_the_wire_and_refuses_everything_else() {
        let place = Place {
            term: 1 << 40,
            group: 2,
            topic: 3,
            queue: 4,
        };
        let receipt = Receipt {
            place,
            offset: 5 << 33,
            nonce: u64::MAX,
            attempt: 6,
        };
        let bytes = receipt.encode();
        assert_eq!(bytes.len(), Receipt::ENCODED_BYTES);
        assert_eq!(Receipt::decode(&bytes), Ok(receipt));
        assert_eq!(Receipt::decode(&bytes[..40]), Err(NotAReceipt));
        assert_eq!(
            Receipt::decode(&[&bytes[..], &[0]].concat()),
            Err(NotAReceipt)
        );
        assert_eq!(Receipt::decode(b""), Err(NotAReceipt));
    }
}
