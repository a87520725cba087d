use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt as _, ready};
use uuid::Uuid;

use super::{super::Undecided, Answer, FenceChecker};

const DATABASE: &str = "fake";

/// A fence in memory, with local transactions that hold their rows until they end. For
/// tests of everything that asks a fence; it passes the same conformance suite as the
/// databases.
#[derive(Clone, Debug, Default)]
pub struct FakeFence {
    rows: Arc<Mutex<BTreeMap<Uuid, Row>>>,
}

#[derive(Clone, Debug)]
enum Row {
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
    pub fn begin(&self, id: Uuid, payload: Option<Bytes>) -> Result<FakeTransaction, Taken> {
        let mut rows = lock(&self.rows);
        if rows.contains_key(&id) {
            return Err(Taken);
        }
        rows.insert(id, Row::Held { payload });
        Ok(FakeTransaction {
            fence: self.clone(),
            id,
        })
    }

    fn decide(&self, id: Uuid) -> Answer {
        match lock(&self.rows).entry(id).or_insert(Row::RolledBack) {
            Row::RolledBack => Answer::Rollback,
            Row::Committed { payload } => Answer::Commit {
                payload: payload.clone(),
            },
            Row::Held { .. } => Answer::from(Undecided::Locked {
                database: DATABASE.to_owned(),
                limit_ms: 0,
            }),
        }
    }
}

impl FenceChecker for FakeFence {
    fn check<'a>(
        &'a self,
        transaction_id: Uuid,
        _producer_group: &'a str,
    ) -> BoxFuture<'a, Answer> {
        ready(self.decide(transaction_id)).boxed()
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
            && let Row::Held { payload } = row
        {
            *row = Row::Committed {
                payload: payload.take(),
            };
        }
    }
}

impl Drop for FakeTransaction {
    fn drop(&mut self) {
        let mut rows = lock(&self.fence.rows);
        if matches!(rows.get(&self.id), Some(Row::Held { .. })) {
            rows.remove(&self.id);
        }
    }
}

fn lock(rows: &Mutex<BTreeMap<Uuid, Row>>) -> MutexGuard<'_, BTreeMap<Uuid, Row>> {
    rows.lock().unwrap_or_else(PoisonError::into_inner)
}
