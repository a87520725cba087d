//! The one thread that writes: a batch of records forms while the batch before is synced.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::disk::DiskFile;
use super::group::EntryId;
use super::record::{Kind, Record};
use super::seal;
use super::segment::SEGMENT_TRAILER_BYTES;
use super::shared::{Covered, Shared};
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
    /// What was taken and is not written yet.
    batch: VecDeque<Item>,
    /// The segment whose seal the next sync covers.
    sealing: Option<u32>,
    buffer: Vec<u8>,
    /// Where the buffer's first byte goes.
    buffer_offset: u32,
    /// Callbacks that the next sync covers.
    flushed: Vec<Flushed>,
    covered: Covered,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, segment: u32, file: Arc<dyn DiskFile>) -> Self {
        Self {
            shared,
            file,
            segment,
            batch: VecDeque::new(),
            sealing: None,
            buffer: Vec::new(),
            buffer_offset: 0,
            flushed: Vec::new(),
            covered: Covered::default(),
        }
    }

    /// Writes until the log is closed and everything is durable, or until an error.
    pub(super) fn run(mut self) {
        while let Some(batch) = self.wait_for_batch() {
            self.batch = batch;
            match self.write_batch() {
                Ok(()) => {}
                Err(Stop::Failed(error)) => return self.fail(&error),
                Err(Stop::Closed) => return self.stop(io::ErrorKind::StorageFull),
            }
        }
    }

    /// Writes all of the batch, and waits for the segments that it needs.
    fn write_batch(&mut self) -> Result<(), Stop> {
        loop {
            self.write()?;
            if let Some(sealed) = self.sync()? {
                let next = self.shared.preparer.take(sealed + 1);
                self.begin_segment(sealed + 1, next.ok_or(Stop::Closed)?);
            }
            if self.batch.is_empty() {
                return Ok(());
            }
        }
    }

    /// Takes what waits, without waiting for it. False when there is nothing to write.
    #[cfg(feature = "simulation")]
    pub(super) fn take_what_waits(&mut self) -> bool {
        if self.batch.is_empty() {
            self.batch = take_batch(&mut lock(&self.shared.state).queue);
        }
        !self.batch.is_empty()
    }

    /// Waits for work; none when closed and done.
    fn wait_for_batch(&self) -> Option<VecDeque<Item>> {
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
        Some(take_batch(&mut state.queue))
    }

    /// Writes the batch up to the end of the segment. It is not durable yet.
    pub(super) fn write(&mut self) -> io::Result<()> {
        while self.sealing.is_none()
            && let Some(item) = self.batch.pop_front()
        {
            match item {
                Item::Record { offset, record } => self.add(&record, offset),
                Item::Seal(item) => self.seal(&item)?,
                Item::Flushed(flushed) => self.flushed.push(flushed),
            }
        }
        if !self.buffer.is_empty() {
            let offset = u64::from(self.buffer_offset);
            self.file.write_at(&self.buffer, offset)?;
        }
        Ok(())
    }

    /// Makes durable what was written, and says so. Answers with the segment that is full now:
    /// the next one must be begun before more is written.
    pub(super) fn sync(&mut self) -> io::Result<Option<u32>> {
        if !self.buffer.is_empty() {
            self.sync_file()?;
        }
        Ok(self.report())
    }

    pub(super) fn sync_file(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Says that what was written is durable, which it must be.
    pub(super) fn report(&mut self) -> Option<u32> {
        if !self.buffer.is_empty() {
            let end = Position {
                segment: self.segment,
                offset: self.buffer_offset + self.buffer.len() as u32,
            };
            self.shared.synced(end, &std::mem::take(&mut self.covered));
            self.buffer.clear();
            self.buffer.shrink_to(BUFFER_KEPT_BYTES);
        }
        self.flushed.drain(..).for_each(|flushed| flushed(Ok(())));
        let sealed = self.sealing.take();
        if let Some(segment) = sealed {
            self.shared.seal_written(segment);
        }
        sealed
    }

    /// Goes on in the next segment.
    pub(super) fn begin_segment(&mut self, segment: u32, file: Arc<dyn DiskFile>) {
        self.file = file;
        self.segment = segment;
    }

    fn add(&mut self, record: &Record, offset: u32) {
        let first = self.buffer.is_empty();
        if first {
            self.buffer_offset = offset;
        }
        record.encode(&mut self.buffer, self.segment, offset, first);
        let Record {
            group, term, index, ..
        } = *record;
        match record.kind {
            Kind::Blank | Kind::Normal | Kind::Membership => {
                self.covered.last.insert(group, EntryId { term, index });
            }
            Kind::Purge => {
                let purged = self.covered.purged.entry(group).or_default();
                *purged = index.max(*purged);
            }
            Kind::Vote | Kind::Committed | Kind::Truncate | Kind::Table | Kind::Seal => {}
        }
    }

    /// Ends a full segment. It is durable, with its seal, before anything is written to the
    /// next.
    fn seal(&mut self, item: &SealItem) -> io::Result<()> {
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
        self.sealing = Some(item.segment);
        self.file.write_at(&trailer, u64::from(trailer_offset))
    }

    /// It is unknown what is on disk.
    pub(super) fn fail(&mut self, error: &io::Error) {
        let what = "writing the log failed; it is unknown what is on disk";
        self.shared.fatal(what, error);
        self.stop(error.kind());
    }

    /// Nothing is written any more.
    pub(super) fn stop(&mut self, kind: io::ErrorKind) {
        let rest = {
            let mut state = lock(&self.shared.state);
            state.failed = Some(kind);
            std::mem::take(&mut state.queue)
        };
        let rest = self.batch.drain(..).chain(rest);
        let waiting = rest.filter_map(|item| match item {
            Item::Flushed(flushed) => Some(flushed),
            Item::Record { .. } | Item::Seal(_) => None,
        });
        for flushed in self.flushed.drain(..).chain(waiting) {
            flushed(Err(kind.into()));
        }
    }
}

/// As much of what waits as may be written before a sync.
fn take_batch(queue: &mut VecDeque<Item>) -> VecDeque<Item> {
    let mut bytes = 0;
    let fits = |item: &&Item| {
        bytes += match item {
            Item::Record { record, .. } => record.stored_bytes(),
            Item::Seal(_) | Item::Flushed(_) => 0,
        };
        bytes <= BATCH_BYTES_MAX
    };
    let count = queue.iter().take_while(fits).count().max(1);
    if count >= queue.len() {
        return std::mem::take(queue);
    }
    queue.drain(..count).collect()
}
