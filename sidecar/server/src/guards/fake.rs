use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt as _, ready};
use outrigger_core::guard::{Input, Outcome, Record};

use super::{Error, GuardStore};

/// Guards in memory: the core's record for each key, by the machine's clock. For tests of
/// everything that uses guards; it passes the same conformance suite as the real stores.
#[derive(Debug, Default)]
pub struct FakeGuards {
    records: Mutex<BTreeMap<(String, Bytes), Record>>,
}

impl FakeGuards {
    /// None are held.
    pub fn new() -> Self {
        Self::default()
    }
}

impl GuardStore for FakeGuards {
    fn apply<'a>(
        &'a self,
        scope: &'a str,
        key: Bytes,
        input: Input,
    ) -> BoxFuture<'a, Result<Outcome, Error>> {
        let now_ms = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| {
                u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
            });
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        let record = records.entry((scope.to_owned(), key)).or_default();
        ready(Ok(record.step(now_ms, input))).boxed()
    }
}
