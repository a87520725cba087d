use super::error::WalOpenError;
use super::index::Index;
use super::record::{Kind, Noted, RECORD_HEADER_BYTES, RecordHeader, stored_bytes};
use super::recovery::{Found, corrupt, readable};
use super::segment::{SEGMENT_HEADER_BYTES, SEGMENT_TRAILER_BYTES};

/// Bytes that are read ahead.
const WINDOW_BYTES: u32 = 1 << 20;

/// How a scan ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scanned {
    /// What follows is not a record: the next one goes here.
    Open { end: u32 },
    /// The segment is full.
    Sealed { table_offset: u32, seal_offset: u32 },
}

/// Reads the records of one segment one after the other.
pub(super) struct Scan<'a> {
    found: &'a Found,
    window: Vec<u8>,
    window_offset: u32,
}

impl<'a> Scan<'a> {
    pub(super) fn new(found: &'a Found) -> Self {
        Self {
            found,
            window: Vec::new(),
            window_offset: 0,
        }
    }

    /// Takes note of all records up to the first that is not whole.
    pub(super) fn run(mut self, index: &mut Index) -> Result<Scanned, WalOpenError> {
        let mut offset = SEGMENT_HEADER_BYTES;
        let mut table_offset = None;
        while let Some(record) = self.record_at(offset)? {
            #[cfg(feature = "simulation")]
            if crate::simulation::is_planted(crate::simulation::Plant::GoodRecordCut)
                && self
                    .record_at(offset + stored_bytes(u64::from(record.length)) as u32)?
                    .is_none()
            {
                break;
            }
            match record.kind {
                Kind::Table => table_offset = Some(offset),
                Kind::Seal => {
                    let table_offset = table_offset
                        .ok_or_else(|| corrupt(self.found, offset, "a seal without a table"))?;
                    return Ok(Scanned::Sealed {
                        table_offset,
                        seal_offset: offset,
                    });
                }
                _ => index
                    .note(&record, offset)
                    .map_err(|disorder| corrupt(self.found, offset, disorder.to_string()))?,
            }
            offset += stored_bytes(u64::from(record.length)) as u32;
        }
        // A table without its seal is a part of what was torn.
        Ok(Scanned::Open {
            end: table_offset.unwrap_or(offset),
        })
    }

    /// The record at this offset, when there is a whole one.
    pub(super) fn record_at(&mut self, offset: u32) -> Result<Option<Noted>, WalOpenError> {
        let Some(bytes) = self.bytes(offset, RECORD_HEADER_BYTES)? else {
            return Ok(None);
        };
        let Some(header) = RecordHeader::decode(bytes) else {
            return Ok(None);
        };
        let whole = RECORD_HEADER_BYTES.saturating_add(header.length);
        let sequence = self.found.plan.sequence;
        let Some(bytes) = self.bytes(offset, whole)? else {
            return Ok(None);
        };
        if !header.verify(bytes, sequence, offset) {
            return Ok(None);
        }
        let body = bytes.get(RECORD_HEADER_BYTES as usize..);
        Ok(Some(header.noted(body.unwrap_or_default())))
    }

    /// A part of the segment; none when it would reach beyond what records may use.
    pub(super) fn bytes(
        &mut self,
        offset: u32,
        length: u32,
    ) -> Result<Option<&[u8]>, WalOpenError> {
        let limit = self.found.plan.bytes - SEGMENT_TRAILER_BYTES;
        let Some(end) = offset.checked_add(length).filter(|end| *end <= limit) else {
            return Ok(None);
        };
        let window_end = self.window_offset + self.window.len() as u32;
        if offset < self.window_offset || end > window_end {
            let want = length.max(WINDOW_BYTES).min(limit - offset);
            self.window.resize(want as usize, 0);
            self.window_offset = offset;
            let read = self.found.file.read_at(&mut self.window, u64::from(offset));
            readable(self.found, offset, read)?;
        }
        let start = (offset - self.window_offset) as usize;
        Ok(self.window.get(start..start + length as usize))
    }
}
