//! Old fence rows go, and none that can still be asked about.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::SystemTime,
};

use anyhow::Context as _;
use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt as _, ready};
use outrigger::check_back::{
    CollectOptions, Collector, NotRecorded, Options, TransactionLog, WaitingTransaction,
};
use outrigger_core::half_message::Verdict;
use outrigger_log::TransactionId;
use outrigger_proto::stored;
use uuid::Uuid;

use super::{Application, PRODUCER_GROUP, Taken};

const OTHER_GROUP: &str = "other-service";
const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;
const DAY_MS: u64 = 24 * HOUR_MS;
const BATCH_ROWS_MAX: usize = 7;

/// A log with nothing but transactions that wait for their verdict.
#[derive(Default)]
struct WaitingLog {
    in_order: BTreeMap<u64, WaitingTransaction>,
    /// Decided in other data groups.
    elsewhere: BTreeSet<TransactionId>,
}

impl WaitingLog {
    /// Must be told the oldest first, as a log is.
    fn prepare(&mut self, id: Uuid, producer_group: &str, age_ms: u64, parked: bool) {
        let now_ms = SystemTime::UNIX_EPOCH.elapsed();
        let now_ms = now_ms.map_or(0, |now| now.as_millis() as u64);
        let at_ms = now_ms.saturating_sub(age_ms);
        let sequence = self.in_order.len() as u64 + 1;
        let transaction = WaitingTransaction {
            sequence,
            id: TransactionId(id.as_u128()),
            producer_group: producer_group.into(),
            prepared_at_ms: at_ms,
            waiting_since_ms: at_ms,
            parked,
        };
        self.in_order.insert(sequence, transaction);
    }
}

impl TransactionLog for WaitingLog {
    fn waiting(&self, after: u64, before_ms: u64, limit: usize) -> Vec<WaitingTransaction> {
        let waiting = self.in_order.range(after + 1..).map(|(_, one)| one.clone());
        waiting
            .take_while(|one| one.prepared_at_ms < before_ms)
            .take(limit)
            .collect()
    }

    fn find(&self, id: TransactionId) -> Option<WaitingTransaction> {
        self.in_order.values().find(|one| one.id == id).cloned()
    }

    fn decides(&self, id: TransactionId) -> bool {
        !self.elsewhere.contains(&id)
    }

    fn messages(&self, _: TransactionId) -> BoxFuture<'_, Vec<stored::Message>> {
        ready(Vec::new()).boxed()
    }

    fn resolve(
        &self,
        _: TransactionId,
        _: Verdict,
        _: Option<Bytes>,
    ) -> BoxFuture<'_, Result<(), NotRecorded>> {
        ready(Err(NotRecorded::Later("read only".to_owned()))).boxed()
    }

    fn park(&self, _: TransactionId) -> BoxFuture<'_, Result<(), NotRecorded>> {
        ready(Err(NotRecorded::Later("read only".to_owned()))).boxed()
    }
}

/// One round with the default ages: 7 days, and an hour before the oldest that waits.
async fn round<A: Application>(application: &A, log: WaitingLog) -> anyhow::Result<u64> {
    let options = Options {
        collect: CollectOptions {
            batch_rows_max: BATCH_ROWS_MAX,
            batch_pause_ms: 1,
            page_transactions_max: 2,
            ..CollectOptions::default()
        },
        ..Options::default()
    };
    let groups = vec![(PRODUCER_GROUP.to_owned(), application.store()?)];
    let collector = Collector::new(Arc::new(log), &options)?.over(groups);
    Ok(collector.round().await)
}

/// The row of a committed transaction, made so long ago.
async fn committed<A: Application>(application: &A, age_ms: u64) -> anyhow::Result<Uuid> {
    let id = Uuid::now_v7();
    let local = application.begin(id, Some(b"body")).await?;
    A::commit(local.ok().context("taken")?).await?;
    application.make_older(id, age_ms).await?;
    Ok(id)
}

/// The row of a transaction that was checked before it committed.
async fn rolled_back<A: Application>(
    application: &A,
    producer_group: &str,
    age_ms: u64,
) -> anyhow::Result<Uuid> {
    let id = Uuid::now_v7();
    application.sidecar()?.check(id, producer_group).await;
    application.make_older(id, age_ms).await?;
    Ok(id)
}

async fn is_there<A: Application>(application: &A, id: Uuid) -> anyhow::Result<bool> {
    match application.begin(id, None).await? {
        Err(Taken) => Ok(true),
        Ok(local) => A::rollback(local).await.map(|()| false),
    }
}

async fn expect<A: Application>(
    application: &A,
    stays: &[Uuid],
    goes: &[Uuid],
) -> anyhow::Result<()> {
    for (number, id) in stays.iter().enumerate() {
        assert!(is_there(application, *id).await?, "row {number} is gone");
    }
    for (number, id) in goes.iter().enumerate() {
        assert!(!is_there(application, *id).await?, "row {number} is there");
    }
    Ok(())
}

pub(super) async fn old_rows_go_and_all_others_stay<A: Application>(
    application: A,
) -> anyhow::Result<()> {
    const COMMITTED: usize = 3 * BATCH_ROWS_MAX + 1;
    let (mut goes, mut stays) = (Vec::new(), Vec::new());
    for _ in 0..COMMITTED {
        goes.push(committed(&application, 8 * DAY_MS).await?);
    }
    goes.push(rolled_back(&application, PRODUCER_GROUP, 8 * DAY_MS).await?);
    for age_ms in [0, 25 * HOUR_MS, 7 * DAY_MS - 10 * MINUTE_MS] {
        stays.push(committed(&application, age_ms).await?);
        stays.push(rolled_back(&application, PRODUCER_GROUP, age_ms).await?);
    }
    stays.push(rolled_back(&application, OTHER_GROUP, 80 * DAY_MS).await?);

    // What waits in another group holds up nothing in this one.
    let mut log = WaitingLog::default();
    log.prepare(Uuid::now_v7(), OTHER_GROUP, 90 * DAY_MS, false);
    assert_eq!(round(&application, log).await?, goes.len() as u64);
    expect(&application, &stays, &goes).await?;
    assert_eq!(round(&application, WaitingLog::default()).await?, 0);
    expect(&application, &stays, &goes).await
}

pub(super) async fn rows_of_waiting_transactions_stay_however_old<A: Application>(
    application: A,
) -> anyhow::Result<()> {
    for parked in [false, true] {
        let waiting = committed(&application, 30 * DAY_MS).await?;
        let stays = [
            waiting,
            committed(&application, 8 * DAY_MS).await?,
            committed(&application, 30 * DAY_MS + 30 * MINUTE_MS).await?,
        ];
        let goes = [committed(&application, 30 * DAY_MS + 2 * HOUR_MS).await?];
        let mut log = WaitingLog::default();
        log.prepare(Uuid::now_v7(), OTHER_GROUP, 90 * DAY_MS, false);
        log.prepare(Uuid::now_v7(), OTHER_GROUP, 90 * DAY_MS, true);
        log.prepare(waiting, PRODUCER_GROUP, 30 * DAY_MS, parked);
        log.prepare(Uuid::now_v7(), PRODUCER_GROUP, DAY_MS, false);
        assert_eq!(round(&application, log).await?, 1);
        expect(&application, &stays, &goes).await?;

        // With its verdict it is a row like any other.
        assert_eq!(round(&application, WaitingLog::default()).await?, 3);
        expect(&application, &[], &stays).await?;
    }
    Ok(())
}

/// The row was made while the database's clock was far behind.
pub(super) async fn rows_of_waiting_transactions_stay_whatever_the_clocks_say<A: Application>(
    application: A,
) -> anyhow::Result<()> {
    for waiting in [1, BATCH_ROWS_MAX - 1, 3 * BATCH_ROWS_MAX] {
        let (mut log, mut stays) = (WaitingLog::default(), Vec::new());
        for number in 0..waiting {
            let id = committed(&application, 90 * DAY_MS).await?;
            log.prepare(id, PRODUCER_GROUP, HOUR_MS, number % 2 == 0);
            stays.push(id);
        }
        let mut goes = Vec::new();
        for _ in 0..2 * BATCH_ROWS_MAX {
            goes.push(committed(&application, 80 * DAY_MS).await?);
        }
        let deleted = round(&application, log).await?;
        // Too many of them end the round, but never at their cost.
        if waiting < BATCH_ROWS_MAX {
            assert_eq!(deleted, goes.len() as u64);
            expect(&application, &stays, &goes).await?;
        } else {
            expect(&application, &stays, &[]).await?;
        }
        round(&application, WaitingLog::default()).await?;
        expect(&application, &[], &stays).await?;
    }
    Ok(())
}

/// However many there are of these, and wherever they lie between the others.
pub(super) async fn rows_of_other_data_groups_are_stepped_over<A: Application>(
    application: A,
) -> anyhow::Result<()> {
    const DATA_GROUPS: usize = 3;
    const ROWS: usize = 10 * DATA_GROUPS * BATCH_ROWS_MAX;
    let (mut log, mut stays, mut goes) = (WaitingLog::default(), Vec::new(), Vec::new());
    for number in 0..ROWS {
        let id = rolled_back(&application, PRODUCER_GROUP, 8 * DAY_MS).await?;
        // The oldest batches hold nothing that is decided here.
        if number > 3 * BATCH_ROWS_MAX && number % DATA_GROUPS == 0 {
            goes.push(id);
        } else {
            log.elsewhere.insert(TransactionId(id.as_u128()));
            stays.push(id);
        }
    }
    assert_eq!(round(&application, log).await?, goes.len() as u64);
    expect(&application, &stays, &goes).await
}
