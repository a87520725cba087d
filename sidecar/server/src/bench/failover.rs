//! How long clients wait when the leader is killed, and whether anything is lost.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context as _;
use outrigger_sdk::{
    Client, Message, PublishOptions, Stop,
    consumer::{Received, Retry},
};
use serde::Serialize;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{cluster::Cluster, sidecar::Sidecar};

const TOPIC: &str = "failover";
/// Longer than any failover may take: a client that gives up would be an error.
const RETRY_TOTAL_MS: u64 = 60_000;
/// Load between two kills.
const BETWEEN_KILLS: Duration = Duration::from_millis(1_000);
/// A node that is so few entries behind under load has caught up.
const LAG_MAX: u64 = 1_000;
const READ_MAX: Duration = Duration::from_secs(120);

/// What a run of kills showed.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    scenario: &'static str,
    nodes: u32,
    kills: usize,
    /// From the kill until something was acknowledged that was sent after it.
    min_ms: u64,
    p50_ms: u64,
    p99_ms: u64,
    max_ms: u64,
    acknowledged: u64,
    /// Sends that failed.
    errors: u64,
    /// Acknowledged, and not delivered.
    lost: u64,
    /// Stored twice.
    doubled: u64,
}

/// What the senders share.
#[derive(Default)]
struct Ledger {
    over: AtomicBool,
    errors: Mutex<Vec<String>>,
    /// How many messages each sender had acknowledged.
    acknowledged: Mutex<BTreeMap<u32, u64>>,
}

pub(super) async fn run(
    mut cluster: Cluster,
    nodes: u32,
    kills: usize,
    senders: u32,
) -> anyhow::Result<Report> {
    let sidecar = Sidecar::start_before(&cluster.edges()).await?;
    let options = PublishOptions {
        retry_total_ms: RETRY_TOTAL_MS,
        ..PublishOptions::default()
    };
    let client = Client::connect_with(sidecar.served().uri, options).await?;
    let ledger = Arc::new(Ledger::default());
    let (latest, latest_sent) = watch::channel(Instant::now());
    let latest = Arc::new(latest);
    let mut load = JoinSet::new();
    for sender in 0..senders {
        let latest = Arc::clone(&latest);
        load.spawn(send(sender, client.clone(), Arc::clone(&ledger), latest));
    }
    let home = cluster.home(TOPIC)?;
    let mut took_ms = Vec::new();
    for _ in 0..kills {
        sleep(BETWEEN_KILLS).await;
        let leader = cluster.leader(home).await?;
        let killed_at = Instant::now();
        cluster.kill(leader).await?;
        let gone_at = Instant::now();
        let mut sent = latest_sent.clone();
        let served = sent.wait_for(|sent| *sent >= gone_at);
        let limit = Duration::from_millis(RETRY_TOTAL_MS);
        timeout(limit, served)
            .await
            .context("nobody was served")??;
        let took = u64::try_from(killed_at.elapsed().as_millis())?;
        tracing::info!(leader, took_ms = took, "served again");
        took_ms.push(took);
        cluster.restart(leader)?;
        cluster.caught_up(leader, LAG_MAX).await?;
    }
    ledger.over.store(true, Ordering::Relaxed);
    while let Some(ended) = load.join_next().await {
        ended?;
    }
    let report = judge(&client, &ledger, nodes, took_ms).await;
    sidecar.stop().await;
    cluster.stop().await;
    report
}

/// One message after the other; the time at which the latest acknowledged one was sent.
async fn send(
    sender: u32,
    client: Client,
    ledger: Arc<Ledger>,
    latest: Arc<watch::Sender<Instant>>,
) {
    let producer = client.producer("bench");
    let mut number = 0_u64;
    while !ledger.over.load(Ordering::Relaxed) {
        let sent_at = Instant::now();
        let message = Message::new(TOPIC, format!("{sender} {number}"));
        match producer.send(message).await {
            Ok(_) => {
                number += 1;
                latest.send_if_modified(|latest| {
                    let is_later = sent_at > *latest;
                    *latest = sent_at.max(*latest);
                    is_later
                });
            }
            Err(error) => {
                let mut errors = ledger.errors.lock().unwrap_or_else(PoisonError::into_inner);
                errors.push(error.to_string());
                // Its number may be stored or not; nothing can be said of it any more.
                break;
            }
        }
    }
    let mut acknowledged = ledger
        .acknowledged
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    acknowledged.insert(sender, number);
}

/// Reads everything back.
async fn judge(
    client: &Client,
    ledger: &Ledger,
    nodes: u32,
    mut took_ms: Vec<u64>,
) -> anyhow::Result<Report> {
    let acknowledged = ledger
        .acknowledged
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    let errors = ledger
        .errors
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    for error in errors.iter().take(5) {
        tracing::error!(error, "a send failed");
    }
    let stored: u64 = {
        let topic = client.admin().topic(TOPIC).await?;
        let counts = topic.queues.iter();
        counts
            .map(|queue| queue.next_offset - queue.first_offset)
            .sum()
    };
    let delivered = read_all(client, stored).await?;
    let mut lost = 0;
    for (sender, count) in &acknowledged {
        let missing = |number: &u64| !delivered.contains_key(&format!("{sender} {number}"));
        lost += (0..*count).filter(missing).count() as u64;
    }
    took_ms.sort_unstable();
    let quantile = |share: f64| {
        let place = (took_ms.len() as f64 * share).ceil() as usize;
        took_ms.get(place.max(1) - 1).copied().unwrap_or_default()
    };
    Ok(Report {
        scenario: "failover",
        nodes,
        kills: took_ms.len(),
        min_ms: quantile(0.0),
        p50_ms: quantile(0.5),
        p99_ms: quantile(0.99),
        max_ms: quantile(1.0),
        acknowledged: acknowledged.values().sum(),
        errors: errors.len() as u64,
        lost,
        doubled: stored.saturating_sub(delivered.len() as u64),
    })
}

async fn read_all(client: &Client, stored: u64) -> anyhow::Result<BTreeMap<String, u32>> {
    let seen = Arc::new(Mutex::new(BTreeMap::new()));
    let (count, mut counted) = watch::channel(0_u64);
    let stop = Stop::new();
    let consumer = client
        .consumer("failover-judge")
        .subscribe(TOPIC, "*")
        .concurrency(1_024)
        .stop(stop.clone())
        .run({
            let seen = Arc::clone(&seen);
            move |message: Received| {
                let body = String::from_utf8_lossy(message.body()).into_owned();
                let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                *seen.entry(body).or_insert(0) += 1;
                count.send_modify(|count| *count += 1);
                std::future::ready(Ok::<(), Retry>(()))
            }
        });
    let consumer = tokio::spawn(consumer);
    let all = counted.wait_for(|count| *count >= stored);
    timeout(READ_MAX, all)
        .await
        .context("not everything was delivered")??;
    stop.stop();
    consumer.await??;
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(std::mem::take(&mut *seen))
}

impl Report {
    #[expect(clippy::print_stdout, reason = "a command line answers its user")]
    pub(super) fn print(&self, json: bool) -> anyhow::Result<()> {
        if json {
            println!("{}", serde_json::to_string(self)?);
            return Ok(());
        }
        println!(
            "failover: {} kills of the leader of {} nodes; served again after min {} ms, p50 {} ms, \
             p99 {} ms, max {} ms",
            self.kills, self.nodes, self.min_ms, self.p50_ms, self.p99_ms, self.max_ms
        );
        println!(
            "  {} acknowledged, {} errors, {} lost, {} stored twice",
            self.acknowledged, self.errors, self.lost, self.doubled
        );
        Ok(())
    }

    pub(super) fn is_good(&self) -> bool {
        (self.errors, self.lost, self.doubled) == (0, 0, 0) && self.acknowledged > 0
    }
}
