//! Lets the oldest part of the log go: the leader proposes what has expired, and every node
//! purges its own log as far as it can go on from a floor checkpoint.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use openraft::Raft;
use tokio::sync::watch;

use super::disk::DiskWatch;
use super::log_store::to_log_id;
use super::machine::{Driven, Machine};
use super::types::{LogId, TypeConfig};
use crate::apply::{Apply, Expiry};
use crate::blocking::Blocking;
use crate::cluster::Leadership;
use crate::command::{Batch, Command};
use crate::floor::Floors;
use crate::submit::{Batcher, Propose};
use crate::wal::{FullSegment, Kind, ReadError, Wal};

/// How long the group may take to take note of a floor checkpoint, and to purge.
const PURGE_MS_MAX: u64 = 10_000;
/// How far back from its end it is looked for when a segment was written.
const STAMP_ENTRIES_MAX: u64 = 1_024;

/// How long messages are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RetentionLimits {
    /// Whole segments go when everything in them is older.
    pub(crate) retention_ms: u64,
    /// Whole segments go when the log takes more.
    pub(crate) retention_bytes: Option<u64>,
    /// How often it is looked.
    pub(crate) interval_ms: u64,
}

pub(super) struct Retention<A: Apply, P> {
    pub(super) group: u32,
    pub(super) limits: RetentionLimits,
    pub(super) blocking: Blocking,
    pub(super) raft: Raft<TypeConfig, Machine<A>>,
    pub(super) wal: Arc<Wal>,
    pub(super) driven: Arc<Driven<A>>,
    pub(super) floors: Arc<Floors>,
    pub(super) leadership: watch::Receiver<Leadership>,
    pub(super) batcher: Arc<Batcher<P>>,
    pub(super) disk: Arc<DiskWatch>,
}

impl<A: Apply, P: Propose> Retention<A, P> {
    /// Works until it is stopped.
    pub(super) async fn run(self) {
        loop {
            tokio::time::sleep(Duration::from_millis(self.limits.interval_ms)).await;
            if let Err(error) = self.disk.look() {
                tracing::warn!(%error, "it is not known how full the disk is");
            }
            if self.leadership.borrow().is_leading()
                && (!self.waits_for_a_floor() || self.lacks_space())
                && let Err(error) = self.expire().await
            {
                tracing::warn!(%error, "nothing expires now");
            }
            if let Err(error) = self.purge().await {
                tracing::warn!(%error, "the log keeps what it does not need any more");
            }
        }
    }

    /// A group at rest can go on from no floor checkpoint but one of its last entry, which comes
    /// soon. To raise the floor is an entry more, after which it would have to wait for the next
    /// one.
    fn waits_for_a_floor(&self) -> bool {
        let newest = self.floors.newest().map(|newest| newest.index);
        let last = self.wal.last(self.group).map(|last| last.index);
        self.wal.rests(self.group) && newest < last
    }

    /// Then the floor checkpoint may be what there is no room for.
    fn lacks_space(&self) -> bool {
        self.disk.over_bytes() > 0 || self.wal.no_space()
    }

    /// Proposes a higher floor when whole segments have expired.
    async fn expire(&self) -> io::Result<()> {
        let now_ms = self.batcher.clock().now_ms();
        let (group, limits, wal) = (self.group, self.limits, Arc::clone(&self.wal));
        let expiry = self.driven.state().expiry();
        let over_bytes = self.disk.over_bytes();
        let find = move || match expired(group, limits, now_ms, &wal, &*expiry)? {
            None if over_bytes > 0 => consumed(group, over_bytes, &wal, &*expiry),
            found => Ok(found),
        };
        let Some(upto) = self.blocking.run(find).await.flatten()? else {
            return Ok(());
        };
        let pending = self.batcher.submit(vec![Command::Expire { upto }]);
        let pending = pending.map_err(io::Error::other)?;
        pending.await.map(drop).map_err(io::Error::other)
    }

    /// The newest floor checkpoint below the floor, when it is after what was purged already.
    /// It has been read to its end: entries go only when there is something instead of them.
    async fn floor_to_purge_to(&self, purged: u64) -> io::Result<Option<LogId>> {
        let (floors, floor) = (Arc::clone(&self.floors), self.driven.recorded_floor());
        let find = move || loop {
            let found = floors.to_purge_to(floor)?;
            let Some(found) = found.filter(|found| found.header.applied.index > purged) else {
                return Ok(None);
            };
            if floors.verify(&found)? {
                return Ok(Some(found.header.applied));
            }
        };
        self.blocking.run(find).await.flatten()
    }

    /// Purges up to the newest floor checkpoint below the floor, and removes segments.
    async fn purge(&self) -> io::Result<()> {
        let purged = self.wal.purged(self.group).map(to_log_id);
        // Also what was purged later than it was waited for.
        self.floors.purged(purged);
        let purged = purged.map_or(0, |purged| purged.index);
        if let Some(upto) = self.floor_to_purge_to(purged).await? {
            let limit = Some(Duration::from_millis(PURGE_MS_MAX));
            let trigger = self.raft.trigger();
            trigger.snapshot().await.map_err(io::Error::other)?;
            let waiting = self.raft.wait(limit);
            let known = waiting.metrics(|now| now.snapshot >= Some(upto), "a floor checkpoint");
            known.await.map_err(io::Error::other)?;
            trigger
                .purge_log(upto.index)
                .await
                .map_err(io::Error::other)?;
            let gone = waiting.metrics(|now| now.purged >= Some(upto), "purging");
            gone.await.map_err(io::Error::other)?;
            self.floors.purged(Some(upto));
        }
        let wal = Arc::clone(&self.wal);
        let freed_bytes = self
            .blocking
            .run(move || wal.remove_purged())
            .await
            .flatten()?;
        if freed_bytes > 0 {
            tracing::info!(freed_bytes, "removed what had expired from the log");
        }
        Ok(())
    }
}

/// Up to where the floor can be raised so that whole segments go. Which ones are too many is
/// decided for all groups together: the oldest of the log, whoever has most in them.
fn expired(
    group: u32,
    limits: RetentionLimits,
    now_ms: u64,
    wal: &Wal,
    expiry: &dyn Expiry,
) -> io::Result<Option<u64>> {
    let floor = expiry.floor();
    let full = wal.full_segments(group);
    let over_bytes = limits
        .retention_bytes
        .map_or(0, |limit| wal.bytes().saturating_sub(limit));
    let too_many = wal.oldest_of(over_bytes);
    let expired_before_ms = now_ms.saturating_sub(limits.retention_ms);
    let (mut upto, mut visible_since_ms) = (floor, expired_before_ms);
    for segment in &full {
        if segment.last_index <= floor {
            continue;
        }
        let written_ms = written_ms(wal, group, segment)?;
        if written_ms < expired_before_ms {
            upto = segment.last_index;
        } else if Some(segment.segment) <= too_many {
            upto = segment.last_index;
            // What became visible later, out of an old entry, is as new as what is kept.
            visible_since_ms = written_ms.saturating_add(1);
        } else {
            break;
        }
    }
    if upto <= floor {
        return Ok(None);
    }
    let possible = expiry.expirable(upto, visible_since_ms)?;
    let whole = full.iter().rev().find(|full| full.last_index <= possible);
    let upto = whole.map(|full| full.last_index);
    Ok(upto.filter(|upto| *upto > floor))
}

/// The same when the disk is too full: so much of the log goes before its time, if it has been
/// consumed.
fn consumed(
    group: u32,
    over_bytes: u64,
    wal: &Wal,
    expiry: &dyn Expiry,
) -> io::Result<Option<u64>> {
    let floor = expiry.floor();
    let full = wal.full_segments(group);
    let enough = wal.oldest_of(over_bytes);
    let oldest = full.iter().take_while(|full| Some(full.segment) <= enough);
    let upto = oldest.last().map(|full| full.last_index);
    let Some(upto) = upto.filter(|upto| *upto > floor) else {
        return Ok(None);
    };
    let possible = expiry.expirable_consumed(upto)?;
    let whole = full.iter().rev().find(|full| full.last_index <= possible);
    let upto = whole.map(|full| full.last_index);
    Ok(upto.filter(|upto| *upto > floor))
}

/// When the segment's last entry was written; 0 when there is nothing in it that has a time.
fn written_ms(wal: &Wal, group: u32, segment: &FullSegment) -> Result<u64, ReadError> {
    let oldest = segment.last_index.saturating_sub(STAMP_ENTRIES_MAX);
    for index in (oldest..=segment.last_index).rev() {
        let Some(entry) = wal.reader().entry(group, index)? else {
            break;
        };
        if entry.kind == Kind::Normal {
            return Ok(Batch::stamp_of(&entry.body).unwrap_or(0));
        }
    }
    Ok(0)
}
