use std::collections::BTreeMap;

use bytes::{BufMut as _, Bytes};
use roaring::RoaringTreemap;

use super::Event;
use crate::wire::{Short, get_bytes, get_u8, get_u32, get_u64, put_bytes};

const VERSION: u8 = 1;
const RETRY_BYTES: usize = 8 + 4 + 8;

/// How far one consumer group has come in one queue: everything below the floor is done,
/// and some above it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Progress {
    floor: u64,
    acked: RoaringTreemap,
    retries: BTreeMap<u64, Retry>,
}

/// A message that waits for its next delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// The number of the next delivery.
    pub attempt: u32,
    /// When the message becomes visible again.
    pub visible_at_ms: u64,
}

/// Why stored bytes are not a [`Progress`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Written by a newer program.
    #[error("progress has version {version}, this program reads {VERSION}")]
    Version {
        /// The version found.
        version: u8,
    },
    /// The bytes are damaged.
    #[error("progress is damaged: {what}")]
    Damaged {
        /// Which part.
        what: &'static str,
    },
}

impl From<Short> for DecodeError {
    fn from(_: Short) -> Self {
        Self::Damaged { what: "too short" }
    }
}

impl Progress {
    /// The progress of a new consumer group that starts at an offset.
    #[must_use]
    pub fn starting_at(floor: u64) -> Self {
        Self {
            floor,
            ..Self::default()
        }
    }

    /// Every message below this offset is done.
    #[must_use]
    pub fn floor(&self) -> u64 {
        self.floor
    }

    /// Whether a message is done.
    #[must_use]
    pub fn is_acked(&self, offset: u64) -> bool {
        offset < self.floor || self.acked.contains(offset)
    }

    /// How many messages above the floor are done.
    #[must_use]
    pub fn acked_above_floor(&self) -> u64 {
        self.acked.len()
    }

    /// The messages that wait for their next delivery, in order of their offsets.
    pub fn retries(&self) -> impl ExactSizeIterator<Item = (u64, Retry)> + '_ {
        self.retries.iter().map(|(offset, retry)| (*offset, *retry))
    }

    /// The next delivery of a message, if it waits for one.
    #[must_use]
    pub fn retry(&self, offset: u64) -> Option<Retry> {
        self.retries.get(&offset).copied()
    }

    /// Takes a durable change.
    pub fn apply(&mut self, event: &Event) {
        match *event {
            Event::Acked { first, last } => self.ack(first, last),
            Event::Retry {
                offset,
                attempt,
                visible_at_ms,
            } => {
                // A message that was acked in the meantime stays done.
                if !self.is_acked(offset) {
                    let retry = Retry {
                        attempt,
                        visible_at_ms,
                    };
                    self.retries.insert(offset, retry);
                }
            }
        }
    }

    fn ack(&mut self, first: u64, last: u64) {
        if last < self.floor || last < first {
            return;
        }
        self.retries
            .extract_if(first..=last, |_, _| true)
            .for_each(drop);
        if first > self.floor {
            self.acked.insert_range(first..=last);
            return;
        }
        self.floor = last.saturating_add(1);
        if self.acked.is_empty() {
            return;
        }
        self.acked.remove_range(..self.floor);
        let reached = self
            .acked
            .iter()
            .zip(self.floor..)
            .take_while(|(acked, expected)| acked == expected)
            .count() as u64;
        if reached > 0 {
            self.floor += reached;
            self.acked.remove_range(..self.floor);
        }
    }

    /// The compact binary form.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut acked = self.acked.clone();
        acked.optimize();
        let mut acked_bytes = Vec::with_capacity(acked.serialized_size());
        let written = acked.serialize_into(&mut acked_bytes);
        debug_assert!(written.is_ok(), "writing to memory does not fail");

        let size = 17 + self.retries.len() * RETRY_BYTES + acked_bytes.len();
        let mut to = Vec::with_capacity(size);
        to.put_u8(VERSION);
        to.put_u64_le(self.floor);
        put_bytes(&mut to, &acked_bytes);
        // The retries have no count: they are the rest.
        for (offset, retry) in &self.retries {
            to.put_u64_le(*offset);
            to.put_u32_le(retry.attempt);
            to.put_u64_le(retry.visible_at_ms);
        }
        to.into()
    }

    /// Reads the compact binary form.
    ///
    /// # Errors
    /// When the bytes are damaged or from a newer version.
    pub fn decode(mut from: Bytes) -> Result<Self, DecodeError> {
        let version = get_u8(&mut from)?;
        if version != VERSION {
            return Err(DecodeError::Version { version });
        }
        let floor = get_u64(&mut from)?;
        let acked_bytes = get_bytes(&mut from)?;
        let acked = RoaringTreemap::deserialize_from(acked_bytes.as_ref()).map_err(|_| {
            DecodeError::Damaged {
                what: "the set of acked offsets",
            }
        })?;
        let mut retries = BTreeMap::new();
        while !from.is_empty() {
            let offset = get_u64(&mut from)?;
            let attempt = get_u32(&mut from)?;
            let visible_at_ms = get_u64(&mut from)?;
            let retry = Retry {
                attempt,
                visible_at_ms,
            };
            retries.insert(offset, retry);
        }
        Ok(Self {
            floor,
            acked,
            retries,
        })
    }
}
