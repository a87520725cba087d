//! Leaders are killed under load; the application does not notice.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use outrigger_sdk::{Client, Message};
use tokio::task::JoinSet;

use crate::harness::{Bench, consume, eventually, stored_count};

const TOPIC: &str = "failover";
const KILLS: u32 = 4;

/// What the load knows.
#[derive(Default)]
struct Ledger {
    number: AtomicU64,
    over: AtomicBool,
    acknowledged: Mutex<BTreeSet<String>>,
    failed: Mutex<Vec<String>>,
}

impl Ledger {
    fn next(&self, kind: &str) -> String {
        format!("{kind}-{:08}", self.number.fetch_add(1, Ordering::Relaxed))
    }

    fn note<T, E: std::fmt::Display>(&self, body: String, answer: Result<T, E>) {
        match answer {
            Ok(_) => {
                self.acknowledged.lock().expect("not poisoned").insert(body);
            }
            Err(error) => {
                let failed = format!("{body}: {error}");
                self.failed.lock().expect("not poisoned").push(failed);
            }
        }
    }

    fn count(&self) -> usize {
        self.acknowledged.lock().expect("not poisoned").len()
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }
}

async fn send_plainly(client: Client, ledger: Arc<Ledger>) {
    let producer = client.producer("failover");
    while !ledger.is_over() {
        let bodies: Vec<String> = (0..16).map(|_| ledger.next("plain")).collect();
        let messages: Vec<Message> = bodies
            .iter()
            .map(|body| Message::new(TOPIC, body.clone()))
            .collect();
        for (answer, body) in producer.send_all(messages).await.into_iter().zip(bodies) {
            ledger.note(body, answer);
        }
    }
}

async fn send_in_transactions(client: Client, ledger: Arc<Ledger>) {
    let producer = client.producer("failover");
    while !ledger.is_over() {
        let body = ledger.next("committed");
        let message = Message::new(TOPIC, body.clone());
        match producer.transaction().message(message).prepare().await {
            Ok(prepared) => ledger.note(body, prepared.commit().await),
            Err(error) => ledger.note::<(), _>(body, Err(error)),
        }
        let message = Message::new(TOPIC, ledger.next("rolled-back"));
        if let Ok(prepared) = producer.transaction().message(message).prepare().await {
            let _ = prepared.rollback().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_leaders_cost_the_application_no_error_and_no_message() {
    let mut bench = Bench::start().await;
    let client = bench.client().await;
    let ledger = Arc::new(Ledger::default());
    let (handled, stop, consumer) = consume(&client, "readers", TOPIC);
    let mut load = JoinSet::new();
    for _ in 0..4 {
        load.spawn(send_plainly(client.clone(), Arc::clone(&ledger)));
        load.spawn(send_in_transactions(client.clone(), Arc::clone(&ledger)));
    }
    for _ in 0..KILLS {
        let (sent, received) = (ledger.count(), handled.lock().expect("not poisoned").len());
        eventually("the load goes on", async || {
            let received_now = handled.lock().expect("not poisoned").len();
            ledger.count() > sent + 100 && received_now > received + 100
        })
        .await;
        let leader = bench.cluster.leader().await.expect("a leader");
        bench.cluster.restart(leader).await.expect("it comes back");
    }
    let sent = ledger.count();
    eventually("the load goes on", async || ledger.count() > sent + 100).await;
    ledger.over.store(true, Ordering::Relaxed);
    while let Some(ended) = load.join_next().await {
        ended.expect("no panic");
    }
    let acknowledged = ledger.acknowledged.lock().expect("not poisoned").clone();
    let failed = ledger.failed.lock().expect("not poisoned").clone();
    assert!(failed.is_empty(), "the application saw: {failed:?}");

    eventually("everything is handled", async || {
        let handled = handled.lock().expect("not poisoned");
        acknowledged.iter().all(|body| handled.contains_key(body))
    })
    .await;
    stop.stop();
    consumer.await.expect("no panic");
    let handled = handled.lock().expect("not poisoned").clone();
    let phantoms: Vec<_> = handled
        .keys()
        .filter(|body| body.starts_with("rolled-back") || !acknowledged.contains(*body))
        .collect();
    assert!(phantoms.is_empty(), "never to be delivered: {phantoms:?}");
    // Offsets, not deliveries: a message stored twice has two of them.
    let stored = stored_count(&client, TOPIC).await;
    assert_eq!(stored, acknowledged.len() as u64, "stored twice, or lost");
    bench
        .cluster
        .agree(&[1, 2, 3])
        .await
        .expect("the same everywhere");
}
