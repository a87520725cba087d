use bytes::{BufMut as _, Bytes};

use super::HistoryEntry;
use crate::{
    limits::{SAGA_HISTORY_BYTES_MAX, SAGA_HISTORY_COUNT_MAX},
    saga::{
        codec::{DecodeError, check_end, damaged},
        event::{Act, Event},
    },
    wire::{get_bytes, get_u32, get_u64, put_bytes},
};

/// The latest events of a saga, oldest first, in their binary form: it takes a tenth of what
/// the events themselves take, and most are never looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct History {
    /// `at_ms u64 | length u32 | event`, one after the other.
    bytes: Vec<u8>,
    count: usize,
}

/// Bytes before each event.
const HEADER_BYTES: usize = 12;

impl History {
    pub(super) fn push(&mut self, at_ms: u64, event: &Event) {
        self.bytes.put_u64_le(at_ms);
        let length_at = self.bytes.len();
        self.bytes.put_u32_le(0);
        put_bare(&mut self.bytes, event);
        let length = self.bytes.len().saturating_sub(length_at + 4);
        let length = u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
        if let Some(place) = self.bytes.get_mut(length_at..length_at + 4) {
            place.copy_from_slice(&length);
        }
        self.count += 1;
        self.forget();
    }

    /// Lets the oldest go when there are too many.
    fn forget(&mut self) {
        let mut from = 0;
        while self.count > 1
            && (self.count > SAGA_HISTORY_COUNT_MAX
                || self.bytes.len() - from > SAGA_HISTORY_BYTES_MAX)
        {
            let header = self.bytes.get(from + 8..from + HEADER_BYTES);
            let length = header.and_then(|length| length.first_chunk().copied());
            let length = length.map_or(0, u32::from_le_bytes) as usize;
            from = (from + HEADER_BYTES + length).min(self.bytes.len());
            self.count -= 1;
        }
        self.bytes.drain(..from);
    }

    /// The events, of which the last one has this number.
    pub(super) fn entries(&self, last: u64) -> Vec<HistoryEntry> {
        let mut from = Bytes::copy_from_slice(&self.bytes);
        let count = u64::try_from(self.count).unwrap_or(u64::MAX);
        let first = last.saturating_sub(count) + 1;
        let entries = (first..=last).map_while(|sequence| entry(&mut from, sequence).ok());
        entries.collect()
    }

    pub(super) fn put(&self, to: &mut Vec<u8>) {
        put_bytes(to, &self.bytes);
    }

    pub(super) fn get(from: &mut Bytes) -> Result<Self, DecodeError> {
        let bytes = get_bytes(from)?;
        let mut rest = bytes.clone();
        let mut count = 0;
        while !rest.is_empty() {
            entry(&mut rest, 0)?;
            count += 1;
        }
        if count > SAGA_HISTORY_COUNT_MAX {
            return Err(damaged("the number of events that are kept"));
        }
        let bytes = bytes.into();
        Ok(Self { bytes, count })
    }
}

fn entry(from: &mut Bytes, sequence: u64) -> Result<HistoryEntry, DecodeError> {
    let at_ms = get_u64(from)?;
    let length = get_u32(from)? as usize;
    if from.len() < length {
        return Err(DecodeError::Short);
    }
    let mut bytes = from.split_to(length);
    let event = Event::get(&mut bytes)?;
    check_end(&bytes)?;
    Ok(HistoryEntry {
        sequence,
        at_ms,
        event,
    })
}

/// Writes an event without its payload.
fn put_bare(to: &mut Vec<u8>, event: &Event) {
    match event {
        Event::Succeeded {
            step,
            phase,
            output,
        } if !output.is_empty() => Event::Succeeded {
            step: *step,
            phase: *phase,
            output: Bytes::new(),
        }
        .put(to),
        Event::ByHand { act, note } => {
            let mut act = act.clone();
            match &mut act {
                Act::Skip {
                    output: payload, ..
                }
                | Act::EditInput { input: payload, .. } => {
                    *payload = Bytes::new();
                }
                Act::Retry { .. } | Act::Undo | Act::Park | Act::Resume => {}
            }
            let note = note.clone();
            Event::ByHand { act, note }.put(to);
        }
        Event::Succeeded { .. }
        | Event::Started { .. }
        | Event::Failed { .. }
        | Event::Abandoned { .. }
        | Event::Stuck { .. }
        | Event::UndoBegun { .. }
        | Event::ConfirmBegun
        | Event::Parked
        | Event::Completed
        | Event::Undone
        | Event::ResultDelivered
        | Event::ResultGivenUp { .. } => event.put(to),
    }
}
