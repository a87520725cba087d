use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt as _, ready};
use uuid::Uuid;

use super::{super::Undecided, Answer, FenceChecker, FenceRows, FenceStore, OldRows};
use crate::clock::now_ms;

const DATABASE: &str = "fake";

/// A fence in memory, with local transactions that hold their rows until they end. For
/// tests of everything that asks a fence; it passes the same conformance suite as the
/// databases.
#[derive(Clone, Debug, Default)]
pub struct FakeFence {
    rows: Arc<Mutex<BTreeMap<Uuid, Row>>>,
}

#[derive(Clone, Debug)]
struct Row {
    producer_group: String,
    created_at_ms: u64,
    decision: Decision,
}

#[derive(Clone, Debug)]
enum Decision {
    Held { payload: Option<Bytes> },
    Committed { payload: Option<Bytes> },
    RolledBack,
}

/// The fence row exists already; the local transaction has to be given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the transaction has been decided already")]
pub struct Taken;

impl FakeFence {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins a local transaction by inserting its fence row.
    pub fn begin(
        &self,
        id: Uuid,
        producer_group: &str,
        payload: Option<Bytes>,
    ) -> Result<FakeTransaction, Taken> {
        let mut rows = lock(&self.rows);
        if rows.contains_key(&id) {
            return Err(Taken);
        }
        rows.insert(id, row(producer_group, Decision::Held { payload }));
        Ok(FakeTransaction {
            fence: self.clone(),
            id,
        })
    }

    /// Lets a row have been made so much earlier.
    pub fn make_older(&self, id: Uuid, by_ms: u64) {
        if let Some(row) = lock(&self.rows).get_mut(&id) {
            row.created_at_ms = row.created_at_ms.saturating_sub(by_ms);
        }
    }

    fn decide(&self, id: Uuid, producer_group: &str) -> Answer {
        let mut rows = lock(&self.rows);
        let row = rows
            .entry(id)
            .or_insert_with(|| row(producer_group, Decision::RolledBack));
        match &row.decision {
            Decision::RolledBack => Answer::Rollback,
            Decision::Committed { payload } => Answer::Commit {
                payload: payload.clone(),
            },
            Decision::Held { .. } => Answer::from(Undecided::Locked {
                database: DATABASE.to_owned(),
                limit_ms: 0,
            }),
        }
    }
}

impl FenceChecker for FakeFence {
    fn check<'a>(&'a self, transaction_id: Uuid, producer_group: &'a str) -> BoxFuture<'a, Answer> {
        ready(self.decide(transaction_id, producer_group)).boxed()
    }
}

impl FenceStore for FakeFence {
    fn open(&self) -> BoxFuture<'_, Result<Box<dyn FenceRows>, Undecided>> {
        let rows = FakeRows {
            fence: self.clone(),
            told: None,
        };
        ready(Ok(Box::new(rows) as Box<dyn FenceRows>)).boxed()
    }
}

/// A connection to the fake.
struct FakeRows {
    fence: FakeFence,
    /// The last row that was told: when it was made, and its id.
    told: Option<(u64, Uuid)>,
}

impl FenceRows for FakeRows {
    fn next<'a>(
        &'a mut self,
        wanted: OldRows<'a>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Option<Vec<Uuid>>, Undecided>> {
        let mut old: Vec<(u64, Uuid)> = lock(&self.fence.rows)
            .iter()
            .filter(|(_, row)| row.is_among(wanted))
            .map(|(id, row)| (row.created_at_ms, *id))
            .filter(|place| Some(*place) > self.told)
            .collect();
        old.sort_unstable();
        old.truncate(limit);
        let next = old.last().copied().map(|last| {
            self.told = Some(last);
            old.into_iter().map(|(_, id)| id).collect()
        });
        ready(Ok(next)).boxed()
    }

    fn delete<'a>(
        &'a mut self,
        wanted: OldRows<'a>,
        ids: &'a [Uuid],
    ) -> BoxFuture<'a, Result<u64, Undecided>> {
        let mut rows = lock(&self.fence.rows);
        let before = rows.len();
        rows.retain(|id, row| !(ids.contains(id) && row.is_among(wanted)));
        ready(Ok((before - rows.len()) as u64)).boxed()
    }
}

impl Row {
    /// What a running transaction wrote is invisible to everybody else.
    fn is_among(&self, wanted: OldRows<'_>) -> bool {
        !matches!(self.decision, Decision::Held { .. })
            && self.producer_group == wanted.producer_group
            && self.created_at_ms < now_ms().saturating_sub(wanted.age_ms_min)
    }
}

fn row(producer_group: &str, decision: Decision) -> Row {
    Row {
        producer_group: producer_group.to_owned(),
        created_at_ms: now_ms(),
        decision,
    }
}

/// A running local transaction of the fake; rolled back when dropped.
#[derive(Debug)]
pub struct FakeTransaction {
    fence: FakeFence,
    id: Uuid,
}

impl FakeTransaction {
    /// Makes its row visible.
    pub fn commit(self) {
        if let Some(row) = lock(&self.fence.rows).get_mut(&self.id)
            && let Decision::Held { payload } = &mut row.decision
        {
            row.decision = Decision::Committed {
                payload: payload.take(),
            };
        }
    }
}

impl Drop for FakeTransaction {
    fn drop(&mut self) {
        let mut rows = lock(&self.fence.rows);
        let decision = rows.get(&self.id).map(|row| &row.decision);
        if matches!(decision, Some(Decision::Held { .. })) {
            rows.remove(&self.id);
        }
    }
}

fn lock(rows: &Mutex<BTreeMap<Uuid, Row>>) -> MutexGuard<'_, BTreeMap<Uuid, Row>> {
    rows.lock().unwrap_or_else(PoisonError::into_inner)
}
