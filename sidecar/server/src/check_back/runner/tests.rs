use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt as _, ready};
use outrigger_core::{check_back, half_message::Verdict};
use outrigger_log::TransactionId;
use outrigger_proto::stored;
use tokio::{sync::watch, time::Instant};
use uuid::Uuid;

use super::super::{
    Answer, GroupOptions, LastChecks, NotRecorded, Options, TransactionLog, Undecided,
    WaitingTransaction,
    checkers::Checkers,
    fence::{FakeFence, FenceChecker},
};
use super::{CallbackHub, Driver};
use crate::clock::now_ms;

const GROUP: &str = "order-service";
const OTHER: &str = "other-service";

/// Half-messages in memory.
#[derive(Default)]
struct FakeLog {
    transactions: Mutex<BTreeMap<u64, Entry>>,
}

#[derive(Clone)]
struct Entry {
    waiting: WaitingTransaction,
    verdict: Option<(Verdict, Option<Bytes>)>,
    needs_payload: bool,
}

impl FakeLog {
    fn prepare(&self, group: &str, needs_payload: bool) -> TransactionId {
        let mut transactions = self.transactions.lock().unwrap();
        let sequence = transactions.len() as u64 + 1;
        let id = TransactionId(Uuid::now_v7().as_u128());
        let waiting = WaitingTransaction {
            sequence,
            id,
            producer_group: group.into(),
            prepared_at_ms: now_ms(),
            waiting_since_ms: now_ms(),
            parked: false,
        };
        let entry = Entry {
            waiting,
            verdict: None,
            needs_payload,
        };
        transactions.insert(sequence, entry);
        id
    }

    fn with<T>(&self, id: TransactionId, change: impl FnOnce(&mut Entry) -> T) -> T {
        let mut transactions = self.transactions.lock().unwrap();
        change(
            transactions
                .values_mut()
                .find(|entry| entry.waiting.id == id)
                .unwrap(),
        )
    }

    fn verdict(&self, id: TransactionId) -> Option<(Verdict, Option<Bytes>)> {
        self.with(id, |entry| entry.verdict.clone())
    }

    fn parked(&self, id: TransactionId) -> bool {
        self.with(id, |entry| entry.waiting.parked)
    }

    fn resume(&self, id: TransactionId) {
        self.with(id, |entry| {
            entry.waiting.parked = false;
            entry.waiting.waiting_since_ms = now_ms();
        });
    }
}

impl TransactionLog for FakeLog {
    fn waiting(&self, after: u64, before_ms: u64, limit: usize) -> Vec<WaitingTransaction> {
        let transactions = self.transactions.lock().unwrap();
        transactions
            .range(after + 1..)
            .map(|(_, entry)| entry)
            .filter(|entry| entry.verdict.is_none())
            .take_while(|entry| entry.waiting.prepared_at_ms < before_ms)
            .map(|entry| entry.waiting.clone())
            .take(limit)
            .collect()
    }

    fn find(&self, id: TransactionId) -> Option<WaitingTransaction> {
        self.with(id, |entry| {
            entry.verdict.is_none().then(|| entry.waiting.clone())
        })
    }

    fn messages(&self, _id: TransactionId) -> BoxFuture<'_, Vec<stored::Message>> {
        ready(Vec::new()).boxed()
    }

    fn resolve(
        &self,
        id: TransactionId,
        verdict: Verdict,
        payload: Option<Bytes>,
    ) -> BoxFuture<'_, Result<(), NotRecorded>> {
        let result = self.with(id, |entry| match &entry.verdict {
            Some((recorded, _)) if *recorded == verdict => Ok(()),
            Some(_) => Err(NotRecorded::Contradiction("opposite".to_owned())),
            None if entry.needs_payload && verdict == Verdict::Commit && payload.is_none() => Err(
                NotRecorded::PayloadMissing("message 0 has no body".to_owned()),
            ),
            None => {
                entry.verdict = Some((verdict, payload));
                Ok(())
            }
        });
        ready(result).boxed()
    }

    fn park(&self, id: TransactionId) -> BoxFuture<'_, Result<(), NotRecorded>> {
        self.with(id, |entry| entry.waiting.parked = true);
        ready(Ok(())).boxed()
    }
}

/// A database that is down.
struct Down;

impl FenceChecker for Down {
    fn check<'a>(&'a self, _: Uuid, _: &'a str) -> BoxFuture<'a, Answer> {
        let why = Undecided::Connect {
            database: "down".to_owned(),
            message: "refused".to_owned(),
        };
        ready(Answer::from(why)).boxed()
    }
}

struct Running {
    log: Arc<FakeLog>,
    fence: FakeFence,
    last_checks: LastChecks,
    _stop: watch::Sender<bool>,
    driver: tokio::task::JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// `GROUP` is checked against a fake fence, `OTHER` against a database that is down.
fn start() -> Running {
    let options = Options {
        schedule: check_back::Options {
            first_check_ms: 20,
            backoff_base_ms: 10,
            backoff_cap_ms: 40,
            park_after_ms: 400,
            ..check_back::Options::default()
        },
        default: GroupOptions::default(),
        scan_interval_ms: 5,
        patrol_interval_ms: 10,
        page_transactions_max: 7,
        ..Options::default()
    };
    let log = Arc::new(FakeLog::default());
    let fence = FakeFence::new();
    let last_checks = LastChecks::new(options.last_checks_max);
    let hub = CallbackHub::new(options.callback.clone());
    let mut checkers = Checkers::new(&options, hub).unwrap();
    checkers.set_fence(GROUP, "fake", Arc::new(fence.clone()));
    checkers.set_fence(OTHER, "down", Arc::new(Down));
    let (stop, _) = watch::channel(false);
    let driver = Driver::new(Arc::clone(&log), options, checkers, last_checks.clone());
    Running {
        log,
        fence,
        last_checks,
        _stop: stop,
        driver: tokio::spawn(driver.run()),
    }
}

async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn uuid(id: TransactionId) -> Uuid {
    Uuid::from_u128(id.0)
}

#[tokio::test]
async fn every_transaction_gets_the_verdict_of_its_local_transaction() {
    let running = start();
    let mut expected = Vec::new();
    let mut held = Vec::new();
    for number in 0..60 {
        let id = running.log.prepare(GROUP, false);
        let payload = Bytes::from(format!("body-{number}"));
        let verdict = match number % 3 {
            0 => {
                running
                    .fence
                    .begin(uuid(id), GROUP, Some(payload.clone()))
                    .unwrap()
                    .commit();
                (Verdict::Commit, Some(payload))
            }
            1 => (Verdict::Rollback, None),
            _ => {
                held.push(running.fence.begin(uuid(id), GROUP, None).unwrap());
                (Verdict::Commit, None)
            }
        };
        expected.push((id, verdict));
    }
    let ended = |index: usize| running.log.verdict(expected[index].0).is_some();
    eventually("those that ended", || {
        (0..60).filter(|i| i % 3 != 2).all(ended)
    })
    .await;
    // No count of unknown answers decides.
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert!(
        (0..60)
            .filter(|index| index % 3 == 2)
            .all(|index| !ended(index))
    );
    let why = running.last_checks.of(expected[2].0).unwrap();
    assert!(why.contains("still running"), "{why}");
    for transaction in held {
        transaction.commit();
    }
    eventually("all", || (0..60).all(ended)).await;
    for (id, verdict) in expected {
        assert_eq!(running.log.verdict(id), Some(verdict));
        let forgotten = || running.last_checks.of(id).is_none();
        eventually("the reason is dropped with the verdict", forgotten).await;
    }
}

#[tokio::test]
async fn a_database_that_is_down_delays_nobody_else() {
    let running = start();
    let down: Vec<_> = (0..50).map(|_| running.log.prepare(OTHER, false)).collect();
    let up: Vec<_> = (0..50).map(|_| running.log.prepare(GROUP, false)).collect();
    eventually("the other database", || {
        up.iter().all(|id| running.log.verdict(*id).is_some())
    })
    .await;
    assert!(down.iter().all(|id| running.log.verdict(*id).is_none()));
}

#[tokio::test]
async fn what_stays_unknown_is_parked_and_asked_again_when_resumed() {
    let running = start();
    let id = running.log.prepare(GROUP, false);
    let local = running.fence.begin(uuid(id), GROUP, None).unwrap();
    eventually("parked", || running.log.parked(id)).await;
    assert_eq!(running.log.verdict(id), None);
    assert!(running.last_checks.of(id).is_some());
    local.commit();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(running.log.verdict(id), None);
    running.log.resume(id);
    eventually("resumed", || running.log.verdict(id).is_some()).await;
    assert_eq!(running.log.verdict(id), Some((Verdict::Commit, None)));
}

#[tokio::test]
async fn a_commit_without_the_body_it_needs_is_parked_with_the_reason() {
    let running = start();
    let id = running.log.prepare(GROUP, true);
    running.fence.begin(uuid(id), GROUP, None).unwrap().commit();
    eventually("parked", || running.log.parked(id)).await;
    assert_eq!(running.log.verdict(id), None);
    let why = running.last_checks.of(id).unwrap();
    assert!(why.contains("no body"), "{why}");
}

#[tokio::test]
async fn what_the_application_resolved_is_not_asked_about() {
    let running = start();
    let id = running.log.prepare(GROUP, false);
    running
        .log
        .resolve(id, Verdict::Commit, None)
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    // A check would have left a row.
    assert!(running.fence.begin(uuid(id), GROUP, None).is_ok());
}
