use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use futures::{Stream, StreamExt, TryStreamExt};
use openraft::entry::EntryPayload;
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::{LogState, OptionalSend, RaftLogReader, Vote};
use tokio::sync::oneshot;

use super::membership;
use super::network::APPEND_BYTES_MAX;
use super::receipts::{Appended, Receipts};
use super::types::{LeaderId, LogId, Proposal, TypeConfig};
use crate::blocking::Blocking;
use crate::wal::{self, EntryId, Flushed, Kind, NewEntry, StoredEntry, Wal};

type Entry = openraft::alias::EntryOf<TypeConfig>;

/// Entries that are read together, at most, when they come from files.
const READ_ENTRIES_MAX: u64 = 256;
/// Bytes after which a read of several entries ends.
const READ_BYTES_MAX: usize = 4 << 20;

/// The log of one Raft group inside the node's write-ahead log.
#[derive(Clone)]
pub(crate) struct LogStore {
    wal: Arc<Wal>,
    group: u32,
    receipts: Arc<Receipts>,
    blocking: Blocking,
}

impl LogStore {
    pub(crate) fn new(wal: Arc<Wal>, group: u32, blocking: Blocking) -> Self {
        let receipts = Arc::new(Receipts::new(wal.last(group).map(to_log_id)));
        Self {
            wal,
            group,
            receipts,
            blocking,
        }
    }

    /// Who has received what.
    pub(crate) fn receipts(&self) -> &Arc<Receipts> {
        &self.receipts
    }

    fn next_index(&self) -> u64 {
        self.wal.last(self.group).map_or(0, |last| last.index + 1)
    }

    /// Entries from `start`, below `end`, without gaps, until there are enough; from memory as
    /// far as they are there.
    async fn read(&self, start: u64, end: u64, bytes_max: usize) -> io::Result<Vec<StoredEntry>> {
        let mut entries = Vec::new();
        let mut bytes = 0;
        let reader = self.wal.reader();
        while bytes < bytes_max
            && let index = start + entries.len() as u64
            && index < end
            && let Some(entry) = reader.recent(self.group, index)
        {
            bytes += entry.body.len();
            entries.push(entry);
        }
        if !entries.is_empty() || start >= end {
            return Ok(entries);
        }
        let (reader, group) = (reader.clone(), self.group);
        let end = end.min(start.saturating_add(READ_ENTRIES_MAX));
        let read = move || {
            let mut entries = Vec::new();
            let mut bytes = 0;
            for index in start..end {
                let Some(entry) = reader.entry(group, index)? else {
                    break;
                };
                bytes += entry.body.len();
                entries.push(entry);
                if bytes >= bytes_max {
                    break;
                }
            }
            Ok(entries)
        };
        self.blocking.run(read).await?
    }

    /// The part of the range that the log has, as a first index and one after the last.
    fn clamp<RB: RangeBounds<u64>>(&self, range: &RB) -> (u64, u64) {
        let start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(before) => before.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(last) => last.saturating_add(1),
            Bound::Excluded(end) => *end,
            Bound::Unbounded => u64::MAX,
        };
        (
            start.max(self.wal.begin(self.group)),
            end.min(self.next_index()),
        )
    }
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn entries_stream<RB>(
        &mut self,
        range: RB,
    ) -> impl Stream<Item = Result<Entry, io::Error>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (start, end) = self.clamp(&range);
        let store = self.clone();
        let portions = futures::stream::try_unfold(start, move |next| {
            let store = store.clone();
            async move {
                let entries = store.read(next, end, READ_BYTES_MAX).await?;
                let after = next + entries.len() as u64;
                // Whoever reads takes an end for the end of what was asked for.
                if after == next && next < end {
                    let message = format!("entry {next} of the log cannot be found");
                    return Err(io::Error::new(io::ErrorKind::NotFound, message));
                }
                let entries = futures::stream::iter(entries).map(to_entry);
                Ok((after > next).then_some((entries, after)))
            }
        });
        Box::pin(portions.try_flatten())
    }

    async fn try_get_log_entries<RB>(&mut self, range: RB) -> Result<Vec<Entry>, io::Error>
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        self.entries_stream(range).await.try_collect().await
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, io::Error> {
        let end = end.min(self.next_index());
        let entries = self.read(start, end, APPEND_BYTES_MAX).await?;
        entries.into_iter().map(to_entry).collect()
    }

    async fn read_vote(&mut self) -> Result<Option<Vote<LeaderId>>, io::Error> {
        let vote = self.wal.vote(self.group);
        Ok(vote.map(|vote| Vote {
            leader_id: LeaderId {
                term: vote.term,
                voted_for: vote.node,
            },
            committed: vote.committed,
        }))
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        Ok(LogState {
            last_purged_log_id: self.wal.purged(self.group).map(to_log_id),
            last_log_id: self.wal.last(self.group).map(to_log_id),
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote<LeaderId>) -> Result<(), io::Error> {
        let vote = wal::Vote {
            term: vote.leader_id.term,
            node: vote.leader_id.voted_for,
            committed: vote.committed,
        };
        durably(|flushed| self.wal.save_vote(self.group, vote, flushed)).await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        if let Some(committed) = committed {
            self.wal.save_committed(self.group, to_entry_id(&committed));
        }
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.wal.committed(self.group).map(to_log_id))
    }

    async fn append<I>(
        &mut self,
        entries: I,
        callback: IOFlushed<TypeConfig>,
    ) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut appended = Appended::default();
        let entries = entries.into_iter().map(|entry| {
            appended.add(&entry);
            from_entry(entry)
        });
        let flushed = Box::new(move |result| callback.io_completed(result));
        self.wal.append(self.group, entries, flushed)?;
        self.receipts.appended(appended);
        Ok(())
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> Result<(), io::Error> {
        let after = last_log_id.as_ref().map(to_entry_id);
        self.wal.truncate(self.group, after)?;
        self.receipts.truncated(last_log_id);
        Ok(())
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), io::Error> {
        purge(&self.wal, self.group, &log_id).await
    }
}

/// Forgets the entries up to one, and waits until that is durable.
pub(super) async fn purge(wal: &Wal, group: u32, upto: &LogId) -> io::Result<()> {
    durably(|flushed| wal.purge(group, to_entry_id(upto), flushed)).await
}

/// Waits until what was written is durable.
async fn durably(write: impl FnOnce(Flushed) -> io::Result<()>) -> io::Result<()> {
    let (sender, receiver) = oneshot::channel();
    write(Box::new(move |result| {
        // Nobody waits any more when the node is being stopped.
        let _ = sender.send(result);
    }))?;
    receiver
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()))
}

pub(super) fn to_log_id(id: EntryId) -> LogId {
    LogId::new_term_index(id.term, id.index)
}

pub(super) fn to_entry_id(log_id: &LogId) -> EntryId {
    EntryId {
        term: log_id.leader_id.term,
        index: log_id.index,
    }
}

fn from_entry(entry: Entry) -> NewEntry {
    let id = to_entry_id(&entry.log_id);
    let (kind, body) = match entry.payload {
        EntryPayload::Blank => (Kind::Blank, bytes::Bytes::new()),
        EntryPayload::Normal(proposal) => (Kind::Normal, proposal.body),
        EntryPayload::Membership(members) => (Kind::Membership, membership::encode(&members)),
    };
    NewEntry { kind, id, body }
}

fn to_entry(entry: StoredEntry) -> io::Result<Entry> {
    let payload = match entry.kind {
        Kind::Normal => EntryPayload::Normal(Proposal::new(entry.body)),
        Kind::Membership => {
            let members = membership::decode(&entry.body);
            let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, error);
            EntryPayload::Membership(members.map_err(invalid)?)
        }
        _ => EntryPayload::Blank,
    };
    Ok(Entry {
        log_id: LogId::new_term_index(entry.term, entry.index),
        payload,
    })
}
