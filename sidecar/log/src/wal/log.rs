use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;

use bytes::Bytes;

use super::damage;
use super::disk::Disk;
use super::error::WalOpenError;
use super::group::{EntryId, Group, Vote};
use super::index::{FullSegment, Index};
use super::preparer::Preparer;
use super::reader::Reader;
use super::record::{Kind, Record};
use super::recovery;
use super::shared::{OnFatal, Shared};
use super::state::{Flushed, Item, Plan, State};
use super::tail_cache::{StoredEntry, TailCache};
use super::writer::{BATCH_BYTES_MAX, Writer};
use super::{WalOptions, lock, segment};

/// Where torn ends of the log are kept, inside the log's directory.
const QUARANTINE: &str = "quarantine";

/// What is kept free of the last segment that a full disk has room for, at most.
const RESERVE_BYTES_MAX: u64 = 1 << 20;
/// And at most this part of the segment.
const RESERVE_PART: u64 = 16;

/// An entry to append.
#[derive(Clone, Debug)]
pub(crate) struct NewEntry {
    pub(crate) kind: Kind,
    pub(crate) id: EntryId,
    pub(crate) body: Bytes,
}

/// The write-ahead log of a node.
pub(crate) struct Wal {
    pub(super) shared: Arc<Shared>,
    reader: Reader,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Does the threads' work where there are none.
    #[cfg(feature = "simulation")]
    pub(super) inline: Option<Mutex<super::inline::Inline>>,
    /// Held while segments are removed, one after the other.
    removing: Mutex<()>,
    /// Kept until nothing is written any more.
    held: Mutex<Option<File>>,
}

impl Wal {
    /// Opens the log in a directory, or begins a new one there. Blocking.
    pub(crate) fn open(
        directory: &Path,
        options: WalOptions,
        disk: Arc<dyn Disk>,
        on_fatal: OnFatal,
    ) -> Result<Self, WalOpenError> {
        let (wal, writer) = Self::recover(directory, options, disk, on_fatal)?;
        wal.start(writer).map_err(|source| WalOpenError::Io {
            action: "starting the threads of",
            path: directory.to_owned(),
            source,
        })?;
        Ok(wal)
    }

    /// Reads what is there. Nothing is written before the writer is put to work.
    pub(super) fn recover(
        directory: &Path,
        options: WalOptions,
        disk: Arc<dyn Disk>,
        on_fatal: OnFatal,
    ) -> Result<(Self, Writer), WalOpenError> {
        damage::check(directory)?;
        let quarantine = directory.join(QUARANTINE);
        let recovered = recovery::recover(&*disk, directory, &quarantine, &options)?;
        let preparer = Preparer::new(Arc::clone(&disk), directory.to_owned(), options.owner);
        let state = state_of(
            recovered.index,
            recovered.active.plan,
            recovered.next_offset,
        );
        let shared = Arc::new(Shared {
            options,
            directory: directory.to_owned(),
            disk,
            state: Mutex::new(state),
            work: Condvar::new(),
            tail: Mutex::new(TailCache::new(options.tail_cache_bytes_max)),
            preparer,
            on_fatal,
            damage_is_fatal: AtomicBool::new(false),
        });
        let reader = Reader::new(Arc::clone(&shared));
        let wal = Self {
            shared,
            reader,
            threads: Mutex::default(),
            #[cfg(feature = "simulation")]
            inline: None,
            removing: Mutex::default(),
            held: Mutex::default(),
        };
        let active = wal.plan(recovered.active, recovered.prepared);
        let shared = Arc::clone(&wal.shared);
        let writer = Writer::new(shared, active.plan.sequence, active.file);
        Ok((wal, writer))
    }

    /// Keeps the lock on the log's surroundings until the log is closed.
    pub(crate) fn hold(&self, lock_file: File) {
        *lock(&self.held) = Some(lock_file);
    }

    /// Decides which segment follows the active one, and hands over those that are prepared.
    fn plan(&self, active: recovery::Found, prepared: Vec<recovery::Found>) -> recovery::Found {
        let next = active.plan.sequence + 1;
        let mut plan = None;
        for found in prepared {
            if found.plan.sequence == next {
                plan = Some(found.plan);
                self.shared.preparer.put_ready(next, found.file);
            }
        }
        let plan = plan.unwrap_or_else(|| self.shared.following(next));
        lock(&self.shared.state).next = plan;
        active
    }

    fn start(&self, writer: Writer) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let spawn = |name: &str| std::thread::Builder::new().name(name.to_owned());
        let mut threads = lock(&self.threads);
        threads.push(spawn("wal-writer").spawn(move || writer.run())?);
        threads.push(spawn("wal-preparer").spawn(move || shared.preparer.run())?);
        Ok(())
    }

    /// Appends entries; they can be read when this returns, and are durable when `flushed` is
    /// called.
    pub(crate) fn append(
        &self,
        group: u32,
        entries: impl IntoIterator<Item = NewEntry>,
        flushed: Flushed,
    ) -> io::Result<()> {
        let mut state = lock(&self.shared.state);
        for entry in entries {
            let record = Record {
                group,
                kind: entry.kind,
                term: entry.id.term,
                index: entry.id.index,
                body: entry.body.clone(),
            };
            check_size(&record)?;
            let position = state.push(record, |sequence| self.shared.following(sequence))?;
            lock(&self.shared.tail).push(
                group,
                StoredEntry {
                    kind: entry.kind,
                    term: entry.id.term,
                    index: entry.id.index,
                    position,
                    body: entry.body,
                },
            );
        }
        state.queue.push_back(Item::Flushed(flushed));
        drop(state);
        self.shared.work.notify_one();
        Ok(())
    }

    /// Records whom the group's node has voted for.
    pub(crate) fn save_vote(&self, group: u32, vote: Vote, flushed: Flushed) -> io::Result<()> {
        let mark: &'static [u8] = if vote.committed { &[1] } else { &[0] };
        let id = EntryId {
            term: vote.term,
            index: vote.node,
        };
        #[cfg(feature = "simulation")]
        if crate::simulation::is_planted(crate::simulation::Plant::VoteNotSynced) {
            self.push(group, Kind::Vote, id, mark, None)?;
            flushed(Ok(()));
            return Ok(());
        }
        self.push(group, Kind::Vote, id, mark, Some(flushed))
    }

    /// Remembers how far the group has committed. Written with the next batch, or soon: it
    /// says nothing that is not known without it, and is not worth a sync of its own.
    pub(crate) fn save_committed(&self, group: u32, committed: EntryId) {
        let mut state = lock(&self.shared.state);
        state.lazy.insert(group, committed);
        if state.writer_asleep {
            self.shared.work.notify_one();
        }
    }

    /// Cuts off the entries after one, or all of them.
    pub(crate) fn truncate(&self, group: u32, after: Option<EntryId>) -> io::Result<()> {
        let all = EntryId { term: 0, index: 0 };
        let mark: &'static [u8] = if after.is_none() { &[1] } else { &[] };
        self.push(group, Kind::Truncate, after.unwrap_or(all), mark, None)?;
        let next = after.map_or(0, |id| id.index + 1);
        lock(&self.shared.tail).truncate(group, next);
        self.reader.retain(group, ..next);
        Ok(())
    }

    /// Forgets the entries up to one.
    pub(crate) fn purge(&self, group: u32, upto: EntryId, flushed: Flushed) -> io::Result<()> {
        self.push(group, Kind::Purge, upto, &[], Some(flushed))?;
        lock(&self.shared.tail).purge(group, upto.index);
        self.reader.retain(group, upto.index + 1..);
        Ok(())
    }

    /// Removes the oldest full segments as far as no group needs them; what has been purged
    /// must be durable. Tells how many bytes that gave back. Blocking.
    pub(crate) fn remove_purged(&self) -> io::Result<u64> {
        // Every group removes them, but a crash must leave no gap between two.
        let _alone = lock(&self.removing);
        let mut freed = 0;
        loop {
            let segment = {
                let mut state = lock(&self.shared.state);
                let Some(segment) = state.index.removable() else {
                    return Ok(freed);
                };
                let sealed = state.index.sealed.get(&segment);
                freed += sealed.map_or(0, |sealed| u64::from(sealed.bytes));
                state.index.forget(segment);
                segment
            };
            self.reader.forget_segment(segment);
            let path = segment::path_of(&self.shared.directory, segment);
            self.shared.disk.remove(&path)?;
            self.shared.disk.sync_directory(&self.shared.directory)?;
        }
    }

    /// The full segments with entries of a group, in order.
    pub(crate) fn full_segments(&self, group: u32) -> Vec<FullSegment> {
        lock(&self.shared.state).index.full_segments(group)
    }

    /// What all segments take on the disk.
    pub(crate) fn bytes(&self) -> u64 {
        let state = lock(&self.shared.state);
        state.index.sealed_bytes() + u64::from(state.active.bytes)
    }

    /// The last of the oldest full segments that together take so many bytes, whatever is in
    /// them; none when that is no bytes.
    pub(crate) fn oldest_of(&self, bytes: u64) -> Option<u32> {
        lock(&self.shared.state).index.oldest_of(bytes)
    }

    /// What all groups have written since the segment with the group's next entry after this
    /// one was begun; nothing when there is no such entry.
    pub(crate) fn bytes_after(&self, group: u32, index: u64) -> u64 {
        let state = lock(&self.shared.state);
        let full = state.index.bytes_after(group, index);
        full.map_or(0, |full| full + u64::from(state.next_offset))
    }

    /// True when the group has entries, and none of them in the segment that is being written.
    pub(crate) fn rests(&self, group: u32) -> bool {
        let rests = |group: &Group| Some(group.has_entries() && group.slots.is_empty());
        self.of_group(group, rests).unwrap_or(false)
    }

    fn push(
        &self,
        group: u32,
        kind: Kind,
        id: EntryId,
        mark: &'static [u8],
        flushed: Option<Flushed>,
    ) -> io::Result<()> {
        let record = Record {
            group,
            kind,
            term: id.term,
            index: id.index,
            body: Bytes::from_static(mark),
        };
        let mut state = lock(&self.shared.state);
        state.push(record, |sequence| self.shared.following(sequence))?;
        state.queue.extend(flushed.map(Item::Flushed));
        drop(state);
        self.shared.work.notify_one();
        Ok(())
    }

    /// Whom the group's node has voted for.
    pub(crate) fn vote(&self, group: u32) -> Option<Vote> {
        self.of_group(group, |group| group.vote)
    }

    /// How far the group is known to have committed.
    pub(crate) fn committed(&self, group: u32) -> Option<EntryId> {
        let lazy = lock(&self.shared.state).lazy.get(&group).copied();
        lazy.or_else(|| self.of_group(group, |group| group.committed))
    }

    /// Up to where the group's entries have been forgotten.
    pub(crate) fn purged(&self, group: u32) -> Option<EntryId> {
        self.of_group(group, |group| group.purged)
    }

    /// The index of the group's first entry that was not forgotten, if there is any.
    pub(crate) fn begin(&self, group: u32) -> u64 {
        self.of_group(group, |group| Some(group.begin()))
            .unwrap_or(0)
    }

    /// The group's last entry, or what was forgotten last when there is none.
    pub(crate) fn last(&self, group: u32) -> Option<EntryId> {
        self.of_group(group, |group| group.last)
    }

    /// The group's last entry that is durable.
    pub(crate) fn durable(&self, group: u32) -> Option<EntryId> {
        self.of_group(group, |group| group.durable)
    }

    fn of_group<T>(&self, group: u32, what: impl Fn(&Group) -> Option<T>) -> Option<T> {
        lock(&self.shared.state)
            .index
            .groups
            .get(&group)
            .and_then(what)
    }

    /// From now on, a record that cannot be read because it is damaged ends the node: others
    /// have it, and the next opening says that this log is damaged.
    pub(crate) fn replace_when_damaged(&self) {
        self.shared.damage_is_fatal.store(true, Ordering::SeqCst);
    }

    /// For reading.
    pub(crate) fn reader(&self) -> &Reader {
        &self.reader
    }

    /// True while the next segment cannot be prepared, for lack of space or another reason.
    pub(crate) fn no_space(&self) -> bool {
        self.shared.preparer.no_space()
    }

    /// True when what is left of the segment being written is only the reserve.
    pub(crate) fn is_nearly_full(&self) -> bool {
        let (plan, left_bytes) = {
            let state = lock(&self.shared.state);
            (state.active, state.left_bytes())
        };
        let reserve_bytes = RESERVE_BYTES_MAX.min(u64::from(plan.bytes) / RESERVE_PART);
        left_bytes < reserve_bytes || self.shared.preparer.lacks(plan.sequence)
    }

    /// True once nothing is written any more.
    pub(crate) fn has_failed(&self) -> bool {
        lock(&self.shared.state).failed.is_some()
    }

    /// To be told when who uses the log cannot go on, as when it cannot be written itself.
    pub(crate) fn fatal(&self, what: &'static str, error: &io::Error) {
        self.shared.fatal(what, error);
    }

    /// Writes and syncs what is waiting, and stops. Blocking.
    pub(crate) fn close(&self) {
        lock(&self.shared.state).closing = true;
        self.shared.work.notify_all();
        self.shared.preparer.close();
        for thread in lock(&self.threads).drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the log panicked");
            }
        }
        #[cfg(feature = "simulation")]
        self.finish_inline();
        lock(&self.held).take();
    }
}

impl Drop for Wal {
    fn drop(&mut self) {
        self.close();
    }
}

fn check_size(record: &Record) -> io::Result<()> {
    let bytes = record.stored_bytes();
    if bytes > BATCH_BYTES_MAX {
        let message = format!("an entry of {bytes} bytes, the limit is {BATCH_BYTES_MAX}");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    Ok(())
}

fn state_of(index: Index, active: Plan, next_offset: u32) -> State {
    State {
        index,
        queue: std::collections::VecDeque::new(),
        active,
        next_offset,
        next: active,
        lazy: std::collections::BTreeMap::new(),
        writer_asleep: false,
        failed: None,
        closing: false,
    }
}
