//! The one thread that writes: a batch of records forms while the batch before is synced.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::disk::DiskFile;
use super::group::EntryId;
use super::record::{Kind, Record};
use super::seal;
use super::segment::SEGMENT_TRAILER_BYTES;
use super::shared::Shared;
use super::state::{Flushed, Item, SealItem};
use super::{Position, lock};

/// Bytes that are written before a sync, at most. Recovery counts on it: nothing that was not
/// synced reaches further.
pub(super) const BATCH_BYTES_MAX: u64 = 16 << 20;
/// A buffer that has grown beyond this is given back.
const BUFFER_KEPT_BYTES: usize = 1 << 20;
/// Commit positions without entries to travel with are written after this time.
const LAZY_MS: u64 = 100;

/// Why the writer does not go on.
enum Stop {
    /// After a failed write or sync it is unknown what is on disk, and the kernel may have
    /// marked the pages clean already: trying again could report success for lost bytes.
    Failed(io::Error),
    /// Closed while waiting for a segment that there is no space for.
    Closed,
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

/// What the writer keeps between batches.
pub(super) struct Writer {
    shared: Arc<Shared>,
    file: Arc<dyn DiskFile>,
    segment: u32,
    buffer: Vec<u8>,
    /// Where the buffer's first byte goes.
    buffer_offset: u32,
    /// Callbacks that the next sync covers.
    flushed: Vec<Flushed>,
    /// The last entry of each group that the next sync covers.
    last: BTreeMap<u32, EntryId>,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, segment: u32, file: Arc<dyn DiskFile>) -> Self {
        Self {
            shared,
            file,
            segment,
            buffer: Vec::new(),
            buffer_offset: 0,
            flushed: Vec::new(),
            last: BTreeMap::new(),
        }
    }

    /// Writes until the log is closed and everything is durable, or until an error.
    pub(super) fn run(mut self) {
        while let Some(batch) = self.take_batch() {
            match self.write(batch) {
                Ok(()) => {}
                Err(Stop::Failed(error)) => {
                    let what = "writing the log failed; it is unknown what is on disk";
                    self.shared.fatal(what, &error);
                    return self.stop(error.kind());
                }
                Err(Stop::Closed) => return self.stop(io::ErrorKind::StorageFull),
            }
        }
    }

    /// Waits for work; none when closed and done.
    fn take_batch(&self) -> Option<VecDeque<Item>> {
        let shared = &self.shared;
        let mut state = lock(&shared.state);
        // Commit positions come soon after a batch: the first wait is short, so that they need
        // not wake this thread.
        let mut idle = false;
        while state.queue.is_empty() {
            if state.closing && state.lazy.is_empty() {
                return None;
            }
            if idle && state.lazy.is_empty() {
                state.writer_asleep = true;
                state = shared.wait(state);
                state.writer_asleep = false;
                idle = false;
                continue;
            }
            (state, idle) = shared.wait_at_most(state, Duration::from_millis(LAZY_MS));
            if state.queue.is_empty() && (idle || state.closing) {
                shared.push_lazy(&mut state);
            }
        }
        let mut bytes = 0;
        let fits = |item: &&Item| {
            bytes += match item {
                Item::Record { record, .. } => record.stored_bytes(),
                Item::Seal(_) | Item::Flushed(_) => 0,
            };
            bytes <= BATCH_BYTES_MAX
        };
        let count = state.queue.iter().take_while(fits).count().max(1);
        if count == state.queue.len() {
            return Some(std::mem::take(&mut state.queue));
        }
        Some(state.queue.drain(..count).collect())
    }

    fn write(&mut self, batch: VecDeque<Item>) -> Result<(), Stop> {
        for item in batch {
            match item {
                Item::Record { offset, record } => self.add(&record, offset),
                Item::Seal(item) => self.seal(&item)?,
                Item::Flushed(flushed) => self.flushed.push(flushed),
            }
        }
        Ok(self.sync()?)
    }

    fn add(&mut self, record: &Record, offset: u32) {
        let first = self.buffer.is_empty();
        if first {
            self.buffer_offset = offset;
        }
        record.encode(&mut self.buffer, self.segment, offset, first);
        if matches!(record.kind, Kind::Blank | Kind::Normal | Kind::Membership) {
            let id = EntryId {
                term: record.term,
                index: record.index,
            };
            self.last.insert(record.group, id);
        }
    }

    /// Ends a full segment and goes on with the next. The full one is durable, with its seal,
    /// before anything is written to the next.
    fn seal(&mut self, item: &SealItem) -> Result<(), Stop> {
        for (record, offset) in [
            (&item.table, item.table_offset),
            (&item.seal, item.seal_offset),
        ] {
            let first = self.buffer.is_empty();
            if first {
                self.buffer_offset = offset;
            }
            record.encode(&mut self.buffer, self.segment, offset, first);
        }
        let trailer = seal::encode_trailer(item.segment, item.segment_bytes, item.seal_offset);
        let trailer_offset = item.segment_bytes - SEGMENT_TRAILER_BYTES;
        self.file.write_at(&trailer, u64::from(trailer_offset))?;
        self.sync()?;
        self.shared.seal_written(item.segment);
        let next = self.segment + 1;
        let prepared = self.shared.preparer.take(next);
        self.file = prepared.ok_or(Stop::Closed)?;
        self.segment = next;
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        if !self.buffer.is_empty() {
            let offset = u64::from(self.buffer_offset);
            self.file.write_at(&self.buffer, offset)?;
            self.file.sync_data()?;
            let end = Position {
                segment: self.segment,
                offset: self.buffer_offset + self.buffer.len() as u32,
            };
            self.shared.synced(end, &self.last);
            self.last.clear();
            self.buffer.clear();
            self.buffer.shrink_to(BUFFER_KEPT_BYTES);
        }
        self.flushed.drain(..).for_each(|flushed| flushed(Ok(())));
        Ok(())
    }

    /// Nothing is written any more.
    fn stop(&mut self, kind: io::ErrorKind) {
        let rest = {
            let mut state = lock(&self.shared.state);
            state.failed = Some(kind);
            std::mem::take(&mut state.queue)
        };
        let waiting = rest.into_iter().filter_map(|item| match item {
            Item::Flushed(flushed) => Some(flushed),
            Item::Record { .. } | Item::Seal(_) => None,
        });
        for flushed in self.flushed.drain(..).chain(waiting) {
            flushed(Err(kind.into()));
        }
    }
}
