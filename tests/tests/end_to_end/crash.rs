//! kill -9 at any moment: what was acknowledged is there, once.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use outrigger_sdk::{Client, Message};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use tokio::{task::JoinSet, time::sleep};

use crate::harness::{Bench, read_all, stored_count};

/// What the load knows: bodies that were sent, and those of them that were acknowledged.
#[derive(Default)]
struct Ledger {
    number: AtomicU64,
    over: AtomicBool,
    sent: Mutex<BTreeSet<String>>,
    acknowledged: Mutex<BTreeSet<String>>,
}

impl Ledger {
    fn next(&self, kind: &str) -> String {
        let body = format!("{kind}-{:08}", self.number.fetch_add(1, Ordering::Relaxed));
        self.sent.lock().expect("not poisoned").insert(body.clone());
        body
    }

    fn acknowledge(&self, body: String) {
        self.acknowledged.lock().expect("not poisoned").insert(body);
    }

    fn acknowledged_count(&self) -> usize {
        self.acknowledged.lock().expect("not poisoned").len()
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }
}

fn messages_of(bodies: &[String]) -> Vec<Message> {
    bodies
        .iter()
        .map(|body| Message::new("crash", body.clone()))
        .collect()
}

async fn send_plainly(client: Client, ledger: Arc<Ledger>) {
    let producer = client.producer("crash");
    while !ledger.is_over() {
        let bodies: Vec<String> = (0..64).map(|_| ledger.next("plain")).collect();
        let messages = messages_of(&bodies);
        for (receipt, body) in producer.send_all(messages).await.into_iter().zip(bodies) {
            if receipt.is_ok() {
                ledger.acknowledge(body);
            }
        }
    }
}

async fn send_in_transactions(client: Client, ledger: Arc<Ledger>) {
    let producer = client.producer("crash");
    while !ledger.is_over() {
        let body = ledger.next("committed");
        let transaction = producer
            .transaction()
            .message(Message::new("crash", body.clone()));
        let Ok(prepared) = transaction.prepare().await else {
            continue;
        };
        if prepared.commit().await.is_ok() {
            ledger.acknowledge(body);
        }
        let dropped = ledger.next("rolled-back");
        let transaction = producer
            .transaction()
            .message(Message::new("crash", dropped));
        if let Ok(prepared) = transaction.prepare().await {
            let _ = prepared.rollback().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_kills_under_load_lose_and_double_nothing() {
    const KILLS: u32 = 50;
    const LOAD_MS: std::ops::Range<u64> = 20..200;
    let mut bench = Bench::start();
    let client = bench.client().await;
    let ledger = Arc::new(Ledger::default());
    let mut load = JoinSet::new();
    for _ in 0..8 {
        load.spawn(send_plainly(client.clone(), ledger.clone()));
        load.spawn(send_in_transactions(client.clone(), ledger.clone()));
    }
    let mut random = StdRng::seed_from_u64(50);
    for _ in 0..KILLS {
        let before = ledger.acknowledged_count();
        sleep(Duration::from_millis(random.random_range(LOAD_MS))).await;
        bench.sidecar.kill().expect("it can be killed");
        bench.sidecar.restart().expect("it starts again");
        crate::harness::eventually("the load goes on", async || {
            ledger.acknowledged_count() > before
        })
        .await;
    }
    ledger.over.store(true, Ordering::Relaxed);
    while load.join_next().await.is_some() {}

    let acknowledged = ledger.acknowledged.lock().expect("not poisoned").clone();
    let sent = ledger.sent.lock().expect("not poisoned").clone();
    let stored = stored_count(&client, "crash").await;
    let delivered = read_all(&client, "crash").await;
    let lost: Vec<_> = acknowledged
        .iter()
        .filter(|body| !delivered.contains_key(*body))
        .collect();
    let phantoms: Vec<_> = delivered
        .keys()
        .filter(|body| !sent.contains(*body) || body.starts_with("rolled-back"))
        .collect();
    println!(
        "{KILLS} kills: {} acknowledged, {stored} stored, {} lost, {} phantoms",
        acknowledged.len(),
        lost.len(),
        phantoms.len()
    );
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    assert!(phantoms.is_empty(), "never to be delivered: {phantoms:?}");
    // Offsets, not deliveries: a message stored twice has two of them.
    assert_eq!(stored, delivered.len() as u64, "stored twice");
}
