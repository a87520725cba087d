//! Messages get from one data group to another, whichever side stops and whatever is lost or
//! repeated between them.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use outrigger_log::forwarding::{self, Courier, CourierError};
use outrigger_log::{
    Command, Destination, ForwardedMessage, Log, NewMessage, Options, Outcome, TransactionId,
    Verdict,
};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::task::JoinHandle;

/// No test waits for longer.
const HUNG: Duration = Duration::from_secs(120);

async fn one(log: &Log, command: Command) -> Outcome {
    let mut outcomes = log.submit(vec![command]).unwrap().await.unwrap();
    outcomes.remove(0)
}

/// One call, as it may be repeated much later.
type Call = (u32, u32, u64, Vec<ForwardedMessage>);

/// Targets come and go; calls and answers get lost, are repeated and overtaken.
struct Faulty {
    seed: u64,
    targets: Mutex<BTreeMap<u32, Log>>,
    random: Mutex<SmallRng>,
    earlier: Mutex<Vec<Call>>,
    /// Everything arrives from here on.
    calm: Mutex<bool>,
}

impl Faulty {
    fn new() -> Arc<Self> {
        let seed = rand::random();
        Arc::new(Self {
            seed,
            targets: Mutex::default(),
            random: Mutex::new(SmallRng::seed_from_u64(seed)),
            earlier: Mutex::default(),
            calm: Mutex::default(),
        })
    }

    fn happens(&self, probability: f64) -> bool {
        !*self.calm.lock().unwrap() && self.random.lock().unwrap().random_bool(probability)
    }

    /// A call that was made some time ago.
    fn earlier(&self) -> Option<Call> {
        let earlier = self.earlier.lock().unwrap();
        let mut random = self.random.lock().unwrap();
        let at = random.random_range(0..earlier.len().max(1));
        earlier.get(at).cloned()
    }

    fn call(&self, call: Call) -> BoxFuture<'static, Result<u64, CourierError>> {
        let (source, target, first, messages) = call;
        let log = self.targets.lock().unwrap().get(&target).cloned();
        Box::pin(async move {
            let unreachable = |reason: &str| CourierError::Unreachable {
                target,
                reason: reason.to_owned(),
            };
            let log = log.ok_or_else(|| unreachable("it is down"))?;
            let forwarded = Command::Forwarded {
                source,
                first,
                queues: 1,
                messages,
            };
            let pending = log.submit(vec![forwarded]);
            let pending = pending.map_err(|error| unreachable(&error.to_string()))?;
            let outcomes = pending.await;
            match outcomes
                .map_err(|error| unreachable(&error.to_string()))?
                .pop()
            {
                Some(Outcome::Forwarded { upto }) => Ok(upto),
                outcome => Err(CourierError::Refused {
                    target,
                    reason: format!("{outcome:?}"),
                }),
            }
        })
    }
}

/// A courier that can be shared with the test.
struct Shared(Arc<Faulty>);

impl Courier for Shared {
    fn deliver(
        &self,
        source: u32,
        target: u32,
        first: u64,
        messages: Vec<ForwardedMessage>,
    ) -> BoxFuture<'static, Result<u64, CourierError>> {
        let faulty = Arc::clone(&self.0);
        let call = (source, target, first, messages);
        faulty.earlier.lock().unwrap().push(call.clone());
        let lost = move |reason: &str| CourierError::Unreachable {
            target,
            reason: reason.to_owned(),
        };
        Box::pin(async move {
            if faulty.happens(0.2) {
                return Err(lost("the call was lost"));
            }
            if faulty.happens(0.3)
                && let Some(earlier) = faulty.earlier()
            {
                let _ = faulty.call(earlier).await;
            }
            let answer = faulty.call(call).await;
            if faulty.happens(0.2) {
                return Err(lost("the answer was lost"));
            }
            answer
        })
    }
}

/// A data group whose log is opened again and again.
struct Source {
    log: Log,
    forwarder: JoinHandle<()>,
}

impl Source {
    async fn open(path: &Path, courier: &Arc<Faulty>) -> Self {
        let log = Log::open(Options::new(path)).await.unwrap();
        let courier = Arc::new(Shared(Arc::clone(courier)));
        let forwarder = tokio::spawn(forwarding::run(log.clone(), courier));
        Self { log, forwarder }
    }

    async fn close(self) {
        self.forwarder.abort();
        let _ = self.forwarder.await;
        self.log.shutdown().await;
    }

    /// A transaction with a message for each target; every third one is rolled back.
    async fn transaction(&self, number: u32, targets: &[u32]) {
        let message = |target: &u32| NewMessage {
            destination: Destination::There {
                group: *target,
                topic: "inbox".into(),
            },
            key_hash: 0,
            tag_hash: 0,
            deliver_at_ms: 0,
            from_fence: false,
            stored: Bytes::from(format!("{number:04}")),
        };
        let id = TransactionId(u128::from(number));
        let prepare = Command::Prepare {
            id,
            producer_group: "orders".to_owned(),
            fingerprint: 1,
            messages: targets.iter().map(message).collect(),
        };
        let resolve = Command::Resolve {
            id,
            verdict: if number.is_multiple_of(3) {
                Verdict::Rollback
            } else {
                Verdict::Commit
            },
            replacements: Vec::new(),
        };
        let prepared = one(&self.log, prepare).await;
        assert_eq!(prepared, Outcome::Prepared { repeated: false });
        let resolved = one(&self.log, resolve).await;
        assert_eq!(resolved, Outcome::Resolved { repeated: false });
    }

    async fn wait_until_delivered(&self) {
        let mut more = self.log.watch_outgoing();
        while self.log.status().outgoing > 0 {
            // Nothing tells when there is less.
            let _ = tokio::time::timeout(Duration::from_millis(10), more.changed()).await;
        }
    }
}

fn inbox(log: &Log) -> Vec<Bytes> {
    let Some(topic) = log.topic("inbox") else {
        return Vec::new();
    };
    let mut entries = Vec::new();
    log.index(topic.id, 0, 0, usize::MAX, &mut entries).unwrap();
    log.read(&entries).unwrap()
}

async fn restart(path: &Path, target: u32, courier: &Arc<Faulty>) {
    let log = courier.targets.lock().unwrap().remove(&target);
    if let Some(log) = log {
        log.shutdown().await;
    }
    let log = Log::open(Options::new(path)).await.unwrap();
    courier.targets.lock().unwrap().insert(target, log);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_committed_gets_there_once_whoever_stops() {
    const TARGETS: [u32; 2] = [1, 2];
    const ROUNDS: u32 = 6;
    const TRANSACTIONS: u32 = 60;
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let courier = Faulty::new();
    let mut source = Source::open(&path("source"), &courier).await;
    for target in TARGETS {
        restart(&path(&format!("target-{target}")), target, &courier).await;
    }
    for round in 0..ROUNDS {
        for number in 0..TRANSACTIONS {
            let number = round * TRANSACTIONS + number;
            source.transaction(number, &TARGETS).await;
            if number % 25 == 24 {
                let target = TARGETS[number as usize / 25 % 2];
                restart(&path(&format!("target-{target}")), target, &courier).await;
            }
        }
        source.close().await;
        source = Source::open(&path("source"), &courier).await;
    }
    *courier.calm.lock().unwrap() = true;
    let delivered = source.wait_until_delivered();
    tokio::time::timeout(HUNG, delivered).await.unwrap();
    // And everything once more, in a random order.
    for _ in 0..200 {
        let earlier = courier.earlier().unwrap();
        let _ = courier.call(earlier).await;
    }
    let committed = (0..ROUNDS * TRANSACTIONS).filter(|number| !number.is_multiple_of(3));
    let expected: Vec<_> = committed.map(|number| format!("{number:04}")).collect();
    let targets = std::mem::take(&mut *courier.targets.lock().unwrap());
    assert_eq!(targets.len(), TARGETS.len());
    for log in targets.into_values() {
        assert_eq!(inbox(&log), expected, "seed {}", courier.seed);
        log.shutdown().await;
    }
    source.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_data_group_that_is_down_holds_up_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let courier = Faulty::new();
    *courier.calm.lock().unwrap() = true;
    let source = Source::open(&path("source"), &courier).await;
    restart(&path("up"), 1, &courier).await;
    for number in [1, 2, 4, 5] {
        source.transaction(number, &[2, 1]).await;
    }
    let up = courier.targets.lock().unwrap()[&1].clone();
    let delivered = async {
        while inbox(&up).len() < 4 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(HUNG, delivered).await.unwrap();
    assert_eq!(source.log.outgoing(2, 0, 10).len(), 4);
    restart(&path("down"), 2, &courier).await;
    let delivered = source.wait_until_delivered();
    tokio::time::timeout(HUNG, delivered).await.unwrap();
    assert!(source.log.outgoing_targets().is_empty());
    let targets = std::mem::take(&mut *courier.targets.lock().unwrap());
    for log in targets.into_values() {
        assert_eq!(inbox(&log), ["0001", "0002", "0004", "0005"]);
        log.shutdown().await;
    }
    source.close().await;
}
