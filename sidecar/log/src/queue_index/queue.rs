//! One queue: files, then the tail in memory.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError, RwLock};

use super::files::{error, file_end, file_of};
use super::{At, ENTRY_BYTES, Entry, Files, IndexEntry, IndexError};

/// Entries written at once at a checkpoint.
const WRITE_ENTRIES: usize = 8_192;

/// What is not in the files yet.
#[derive(Debug)]
struct Tail {
    /// The offset of the first entry in memory: everything before it is in the files.
    flushed: u64,
    entries: VecDeque<Entry>,
}

impl Tail {
    fn next_offset(&self) -> u64 {
        self.flushed + self.entries.len() as u64
    }
}

/// The index of one queue. Appending is for the state machine alone; anybody may read.
#[derive(Debug)]
pub(crate) struct Queue {
    topic: u32,
    queue: u32,
    files: Arc<Files>,
    tail: RwLock<Tail>,
}

impl Queue {
    /// A queue of which everything before `next_offset` is in the files.
    pub(crate) fn new(topic: u32, queue: u32, files: Arc<Files>, next_offset: u64) -> Self {
        Self {
            topic,
            queue,
            files,
            tail: RwLock::new(Tail {
                flushed: next_offset,
                entries: VecDeque::new(),
            }),
        }
    }

    /// Makes one more message visible and tells its offset.
    pub(crate) fn append(&self, entry: Entry) -> u64 {
        let mut tail = self.tail.write().unwrap_or_else(PoisonError::into_inner);
        let offset = tail.next_offset();
        tail.entries.push_back(entry);
        offset
    }

    /// The entry of this offset, as its checksum knows it.
    pub(crate) fn at(&self, offset: u64) -> At {
        At {
            topic: self.topic,
            queue: self.queue,
            offset,
        }
    }

    /// The oldest offset that can be read.
    pub(crate) fn first_offset(&self) -> u64 {
        0
    }

    /// The offset of the next message.
    pub(crate) fn next_offset(&self) -> u64 {
        self.read_tail(Tail::next_offset)
    }

    /// Appends at most `max` entries from `from` on to `out`.
    pub(crate) fn read(
        &self,
        from: u64,
        max: usize,
        out: &mut Vec<IndexEntry>,
    ) -> Result<(), IndexError> {
        let mut from = from.max(self.first_offset());
        let mut left = max;
        while left > 0 {
            let in_files = self.read_tail(|tail| {
                if from >= tail.flushed {
                    let skip = usize::try_from(from - tail.flushed).unwrap_or(usize::MAX);
                    let entries = tail.entries.iter().skip(skip).take(left);
                    out.extend(entries.zip(from..).map(|(entry, offset)| entry.at(offset)));
                    return 0;
                }
                tail.flushed - from
            });
            if in_files == 0 {
                return Ok(());
            }
            let count = left.min(usize::try_from(in_files).unwrap_or(usize::MAX));
            let read = self.files.read(self.at(from), count, |entry, offset| {
                out.push(entry.at(offset))
            })?;
            from += read as u64;
            left -= read;
        }
        Ok(())
    }

    /// The entry at `offset`.
    pub(crate) fn get(&self, offset: u64) -> Result<Option<IndexEntry>, IndexError> {
        let mut found = Vec::with_capacity(1);
        self.read(offset, 1, &mut found)?;
        Ok(found.pop().filter(|entry| entry.offset == offset))
    }

    /// Writes everything before `end` into the files, syncs them and lets it go from
    /// memory. When that fails, everything stays in memory and can be written again.
    pub(crate) fn flush(&self, end: u64) -> Result<(), IndexError> {
        let mut from = self.read_tail(|tail| tail.flushed);
        let mut bytes = Vec::new();
        while from < end {
            let file = self.files.for_writing(self.topic, self.queue, from)?;
            let until = end.min(file_end(from));
            let failed = |source| error(file_of(self.topic, self.queue, from), source);
            let mut at = from;
            while at < until {
                let count = self.copy(at, until, &mut bytes);
                self.files.write(&file, at, &bytes).map_err(failed)?;
                at += count;
            }
            file.sync_data().map_err(failed)?;
            from = until;
        }
        self.forget(end);
        Ok(())
    }

    /// Copies a piece of the tail in the form that it has in a file.
    fn copy(&self, from: u64, until: u64, bytes: &mut Vec<u8>) -> u64 {
        bytes.clear();
        let count = usize::try_from(until - from)
            .unwrap_or(usize::MAX)
            .min(WRITE_ENTRIES);
        bytes.reserve(count * ENTRY_BYTES);
        self.read_tail(|tail| {
            let skip = usize::try_from(from - tail.flushed).unwrap_or(usize::MAX);
            let entries = tail.entries.iter().skip(skip).take(count);
            for (entry, offset) in entries.zip(from..) {
                entry.put(self.at(offset), bytes);
            }
        });
        (bytes.len() / ENTRY_BYTES) as u64
    }

    fn forget(&self, end: u64) {
        let mut tail = self.tail.write().unwrap_or_else(PoisonError::into_inner);
        let count = usize::try_from(end.saturating_sub(tail.flushed)).unwrap_or(usize::MAX);
        let count = count.min(tail.entries.len());
        tail.entries.drain(..count);
        tail.flushed += count as u64;
        if tail.entries.is_empty() {
            tail.entries.shrink_to(WRITE_ENTRIES);
        }
    }

    fn read_tail<T>(&self, read: impl FnOnce(&Tail) -> T) -> T {
        read(&self.tail.read().unwrap_or_else(PoisonError::into_inner))
    }
}
