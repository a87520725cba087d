//! One queue: files, then the tail in memory.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError, RwLock};

use super::files::{error, file_end, file_of};
use super::minima::{BLOCK_ENTRIES, Minima};
use super::{At, ENTRIES_PER_FILE, ENTRY_BYTES, Entry, Files, IndexEntry, IndexError};

/// Entries written at once at a checkpoint.
const WRITE_ENTRIES: usize = 8_192;

/// What is not in the files yet, and what belongs to all of it.
#[derive(Debug)]
struct Tail {
    /// Everything before it has expired.
    first: u64,
    /// Files with smaller numbers are removed.
    first_file: u64,
    minima: Minima,
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
    /// A queue of which everything from `first_offset` to before `next_offset` is in the files.
    pub(crate) fn new(
        topic: u32,
        queue: u32,
        files: Arc<Files>,
        first_offset: u64,
        next_offset: u64,
    ) -> Self {
        Self {
            topic,
            queue,
            files,
            tail: RwLock::new(Tail {
                first: first_offset,
                first_file: first_offset / ENTRIES_PER_FILE,
                minima: Minima::default(),
                flushed: next_offset,
                entries: VecDeque::new(),
            }),
        }
    }

    /// Makes one more message visible and tells its offset.
    pub(crate) fn append(&self, entry: Entry) -> u64 {
        let mut tail = self.tail.write().unwrap_or_else(PoisonError::into_inner);
        let offset = tail.next_offset();
        tail.minima.append(offset, entry.place.index);
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
        self.read_tail(|tail| tail.first)
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
            let before = out.len();
            let read = self.files.read(self.at(from), count, |entry, offset| {
                out.push(entry.at(offset));
            });
            match read {
                Ok(read) => {
                    from += read as u64;
                    left -= read;
                }
                // It has expired in the meantime, and its file is gone.
                Err(_) if from < self.first_offset() => {
                    out.truncate(before);
                    from = self.first_offset();
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The entry at `offset`.
    pub(crate) fn get(&self, offset: u64) -> Result<Option<IndexEntry>, IndexError> {
        let mut found = Vec::with_capacity(1);
        self.read(offset, 1, &mut found)?;
        Ok(found.pop().filter(|entry| entry.offset == offset))
    }

    /// Lets go of every entry whose message's bytes are in an entry of the log up to `floor`,
    /// and of what stands before it. Tells whether there was any.
    pub(crate) fn expire(&self, floor: u64) -> Result<bool, IndexError> {
        let (first, next) = self.read_tail(|tail| (tail.first, tail.next_offset()));
        let mut block = next.div_ceil(BLOCK_ENTRIES);
        while block > first / BLOCK_ENTRIES {
            block -= 1;
            if self.minimum(block)? > floor {
                continue;
            }
            let entries = self.block(block)?;
            let gone = |entry: &&IndexEntry| entry.place.index <= floor;
            if let Some(last) = entries.iter().rev().find(gone) {
                let mut tail = self.tail.write().unwrap_or_else(PoisonError::into_inner);
                tail.first = last.offset + 1;
                tail.minima.forget(last.offset + 1);
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The smallest index of an entry of the log that a message from `from` on has its bytes
    /// in.
    pub(crate) fn oldest_place(&self, from: u64) -> Result<Option<u64>, IndexError> {
        let (first, next) = self.read_tail(|tail| (tail.first, tail.next_offset()));
        let from = from.max(first);
        if from >= next {
            return Ok(None);
        }
        let first_block = from / BLOCK_ENTRIES;
        let begun = self.block(first_block)?;
        let begun = begun.iter().filter(|entry| entry.offset >= from);
        let mut oldest = begun.map(|entry| entry.place.index).min();
        for block in first_block + 1..next.div_ceil(BLOCK_ENTRIES) {
            let minimum = self.minimum(block)?;
            oldest = Some(oldest.map_or(minimum, |oldest| oldest.min(minimum)));
        }
        Ok(oldest)
    }

    /// The first offset that became visible at this instant or later.
    pub(crate) fn visible_since(&self, time_ms: u64) -> Result<u64, IndexError> {
        let (mut low, mut high) = self.read_tail(|tail| (tail.first, tail.next_offset()));
        while low < high {
            let middle = low + (high - low) / 2;
            match self.get(middle)? {
                Some(entry) if entry.time_ms >= time_ms => high = middle,
                // What has expired in the meantime is older.
                Some(_) | None => low = middle + 1,
            }
        }
        Ok(low)
    }

    /// The smallest index in a block, as far as it has not expired.
    fn minimum(&self, block: u64) -> Result<u64, IndexError> {
        if let Some(known) = self.read_tail(|tail| tail.minima.of(block)) {
            return Ok(known);
        }
        let entries = self.block(block)?;
        let minimum = entries.iter().map(|entry| entry.place.index).min();
        let minimum = minimum.unwrap_or(u64::MAX);
        let mut tail = self.tail.write().unwrap_or_else(PoisonError::into_inner);
        if (block + 1) * BLOCK_ENTRIES <= tail.next_offset() {
            tail.minima.put(block, minimum);
        }
        Ok(minimum)
    }

    /// The entries of a block, as far as they have not expired.
    fn block(&self, block: u64) -> Result<Vec<IndexEntry>, IndexError> {
        let (start, end) = (block * BLOCK_ENTRIES, (block + 1) * BLOCK_ENTRIES);
        let mut entries = Vec::new();
        let from = start.max(self.first_offset());
        if let Ok(count @ 1..) = usize::try_from(end.saturating_sub(from)) {
            self.read(from, count, &mut entries)?;
            entries.retain(|entry| entry.offset < end);
        }
        Ok(entries)
    }

    /// Removes files in which everything stands before `first_offset`, when a checkpoint has
    /// recorded that it has expired.
    pub(crate) fn remove_files(&self, first_offset: u64) -> Result<(), IndexError> {
        let keep = first_offset / ENTRIES_PER_FILE;
        loop {
            let number = self.read_tail(|tail| tail.first_file);
            if number >= keep {
                return Ok(());
            }
            let id = file_of(self.topic, self.queue, number * ENTRIES_PER_FILE);
            self.files.remove(id)?;
            let mut tail = self.tail.write().unwrap_or_else(PoisonError::into_inner);
            tail.first_file = number + 1;
        }
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
