//! A state machine that only counts, beside the real one.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use crate::apply::{Applied, Apply, Checkpoint, Expiry, Import, Written};
use crate::command::{Batch, Outcome};
use crate::floor::NewFloor;
use crate::raft::{LogId, Membership, StoredMembership};
use crate::state::Limits;

/// What was applied, in order: index and body.
pub(super) type Seen = Arc<Mutex<Vec<(u64, bytes::Bytes)>>>;

#[derive(Default)]
pub(super) struct Counting {
    pub(super) seen: Seen,
    pub(super) applied: Option<LogId>,
    pub(super) membership: StoredMembership,
    pub(super) stamp_ms: u64,
    pub(super) resets: Arc<Mutex<u32>>,
    /// Applied since the last checkpoint that was written.
    pub(super) unwritten: u64,
    pub(super) writing: Arc<Mutex<Writing>>,
    /// Applying an entry with this command fails, as when derived state cannot be read.
    pub(super) fails_on: Option<crate::command::Command>,
}

/// How checkpoints go.
#[derive(Default)]
pub(super) struct Writing {
    pub(super) begins: bool,
    /// So many fail yet.
    pub(super) failures: u32,
    /// When each was tried.
    pub(super) tried_at: Vec<Instant>,
    /// Which entry each held that was written.
    pub(super) written: Vec<LogId>,
}

impl Apply for Counting {
    type Checkpoint = Noted;

    fn applied(&self) -> Option<LogId> {
        self.applied
    }

    fn membership(&self) -> StoredMembership {
        self.membership.clone()
    }

    fn apply(&mut self, entry: Applied<'_>) -> io::Result<Vec<Outcome>> {
        let batch = Batch::decode(entry.body).map_err(io::Error::other)?;
        assert!(batch.stamp_ms >= self.stamp_ms, "time runs backwards");
        self.stamp_ms = batch.stamp_ms;
        let failing = self.fails_on.as_slice();
        if !failing.is_empty() && *entry.body == Batch::encode(batch.stamp_ms, failing) {
            return Err(io::Error::other("cannot be read"));
        }
        self.applied = Some(entry.log_id);
        let mut seen = self.seen.lock().unwrap();
        seen.push((entry.log_id.index, entry.body.clone()));
        self.unwritten += batch.len() as u64;
        Ok(vec![Outcome::Applied; batch.len()])
    }

    fn apply_blank(&mut self, log_id: LogId) {
        self.applied = Some(log_id);
    }

    fn apply_membership(&mut self, log_id: LogId, membership: Membership) {
        self.applied = Some(log_id);
        self.membership = StoredMembership::new(Some(log_id), membership);
    }

    fn limits(&self) -> Limits {
        Limits::default()
    }

    fn next_due_ms(&self) -> Option<u64> {
        None
    }

    fn last_stamp_ms(&self) -> u64 {
        self.stamp_ms
    }

    fn is_damaged(&self) -> bool {
        false
    }

    fn unwritten_records(&self) -> u64 {
        self.unwritten
    }

    fn begin_checkpoint(&mut self) -> Option<Noted> {
        let begins = self.writing.lock().unwrap().begins;
        let applied = self.applied.filter(|_| begins && self.unwritten > 0)?;
        let writing = Arc::clone(&self.writing);
        Some(Noted { applied, writing })
    }

    fn begin_checkpoint_anyway(&mut self) -> Option<Noted> {
        self.begin_checkpoint()
    }

    fn end_checkpoint(&mut self, written: bool) {
        if written {
            self.unwritten = 0;
        }
    }

    fn expiry(&self) -> Arc<dyn Expiry> {
        Arc::new(NeverExpires)
    }

    fn import(&self) -> Import {
        Box::new(|_| Err(io::ErrorKind::Unsupported.into()))
    }

    fn install(&mut self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn reset(&mut self) -> io::Result<()> {
        *self.resets.lock().unwrap() += 1;
        self.applied = None;
        self.membership = StoredMembership::default();
        self.stamp_ms = 0;
        self.seen.lock().unwrap().clear();
        Ok(())
    }
}

struct NeverExpires;

impl Expiry for NeverExpires {
    fn floor(&self) -> u64 {
        0
    }

    fn expirable(&self, _upto: u64, _visible_since_ms: u64) -> io::Result<u64> {
        Ok(0)
    }

    fn expirable_consumed(&self, _upto: u64) -> io::Result<u64> {
        Ok(0)
    }
}

pub(super) struct Noted {
    applied: LogId,
    writing: Arc<Mutex<Writing>>,
}

impl Checkpoint for Noted {
    fn applied(&self) -> LogId {
        self.applied
    }

    fn write(self, _floor: Option<NewFloor>) -> io::Result<Written> {
        let mut writing = self.writing.lock().unwrap();
        writing.tried_at.push(Instant::now());
        if writing.failures > 0 {
            writing.failures -= 1;
            return Err(io::ErrorKind::StorageFull.into());
        }
        writing.written.push(self.applied);
        Ok(Written::default())
    }
}
