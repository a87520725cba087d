//! The loads that can be put on a sidecar.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use outrigger_core::placement::{Placement, TopicHome};
use outrigger_sdk::{
    Client, Message, Producer, Stop,
    consumer::{Received, Retry},
    publish::{Pending, SendReceipt},
};
use tokio::{sync::mpsc, task::JoinSet, time::timeout};

use super::{
    Arguments, Scenario,
    load::{Meter, Seen},
    report::Report,
    saga,
    served::Served,
};

/// And others beside it, where there are several data groups.
const TOPIC: &str = "bench";

/// Runs one scenario; `half` reports the Prepare call inside the transaction as well.
pub(super) async fn run(arguments: &Arguments, served: &Served) -> anyhow::Result<Vec<Report>> {
    let client = Client::connect(served.uri.clone()).await?;
    match arguments.scenario {
        Scenario::Half => half(arguments, served, &client).await,
        Scenario::Publish => Ok(vec![publish(arguments, served, &client).await?]),
        Scenario::Consume => Ok(vec![consume(arguments, served, &client).await?]),
        Scenario::Saga => Ok(vec![saga::run(arguments, served, &client).await?]),
        Scenario::Failover | Scenario::Rejoin | Scenario::Participants => {
            anyhow::bail!("no load of its own")
        }
    }
}

/// The load of one run, as each task needs it.
#[derive(Clone)]
struct Load {
    producer: Producer,
    /// One in each data group; messages go to them in turn.
    topics: Arc<[String]>,
    turn: Arc<AtomicUsize>,
    body: bytes::Bytes,
    until: Instant,
}

impl Load {
    fn new(arguments: &Arguments, client: &Client) -> anyhow::Result<Self> {
        let producer = client.producer("bench");
        Ok(Self {
            topics: topics(Placement::new(arguments.groups)?),
            turn: Arc::default(),
            producer: match arguments.durability {
                Some(level) => producer.durability(level.into()),
                None => producer,
            },
            body: vec![b'x'; arguments.size as usize].into(),
            until: Instant::now() + Duration::from_secs(arguments.seconds),
        })
    }

    fn message(&self) -> Message {
        let topic = match &*self.topics {
            [only] => only.as_str(),
            several => {
                let turn = self.turn.fetch_add(1, Ordering::Relaxed) % several.len().max(1);
                several.get(turn).map_or(TOPIC, String::as_str)
            }
        };
        Message::new(topic, self.body.clone())
    }

    fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }
}

/// The first name, counted up, in each data group.
fn topics(placement: Placement) -> Arc<[String]> {
    let name = |number: u32| match number {
        0 => TOPIC.to_owned(),
        _ => format!("{TOPIC}-{number}"),
    };
    let first = |group| {
        let mut names = (0..).map(name);
        names.find(|name| placement.topic(name) == TopicHome::One(group))
    };
    (0..placement.groups()).filter_map(first).collect()
}

/// Every task runs one transaction after the other.
async fn half(
    arguments: &Arguments,
    served: &Served,
    client: &Client,
) -> anyhow::Result<Vec<Report>> {
    let load = Load::new(arguments, client)?;
    let meter = Meter::start(served);
    let mut tasks = JoinSet::new();
    for _ in 0..arguments.concurrency {
        tasks.spawn(transactions(load.clone()));
    }
    let (mut transactions, mut prepares) = (Seen::new()?, Seen::new()?);
    while let Some(seen) = tasks.join_next().await {
        let (own_transactions, own_prepares) = seen??;
        transactions.add(&own_transactions)?;
        prepares.add(&own_prepares)?;
    }
    Ok(vec![
        meter.report("half", &transactions),
        meter.report("prepare", &prepares),
    ])
}

async fn transactions(load: Load) -> anyhow::Result<(Seen, Seen)> {
    let (mut transactions, mut prepares) = (Seen::new()?, Seen::new()?);
    while !load.is_over() {
        let started = Instant::now();
        let Ok(prepared) = load
            .producer
            .transaction()
            .message(load.message())
            .prepare()
            .await
        else {
            prepares.errors += 1;
            continue;
        };
        prepares.acknowledged(started);
        match prepared.commit().await {
            Ok(_) => transactions.acknowledged(started),
            Err(_) => transactions.errors += 1,
        }
    }
    Ok((transactions, prepares))
}

/// A few tasks, each with its share of the messages in flight.
async fn publish(
    arguments: &Arguments,
    served: &Served,
    client: &Client,
) -> anyhow::Result<Report> {
    const TASKS_MAX: u32 = 4;
    let tasks_count = arguments.concurrency.min(TASKS_MAX);
    let in_flight_max = (arguments.concurrency / tasks_count) as usize;
    let load = Load::new(arguments, client)?;
    let meter = Meter::start(served);
    let mut tasks = JoinSet::new();
    for _ in 0..tasks_count {
        tasks.spawn(sends(load.clone(), in_flight_max));
    }
    let mut seen = Seen::new()?;
    while let Some(own) = tasks.join_next().await {
        seen.add(&own??)?;
    }
    Ok(meter.report("publish", &seen))
}

async fn sends(load: Load, in_flight_max: usize) -> anyhow::Result<Seen> {
    let mut seen = Seen::new()?;
    let mut in_flight = VecDeque::with_capacity(in_flight_max);
    while !load.is_over() {
        while in_flight.len() < in_flight_max {
            let started = Instant::now();
            match load.producer.send_nowait(load.message()).await {
                Ok(pending) => in_flight.push_back((started, pending)),
                Err(_) => seen.errors += 1,
            }
        }
        settle_oldest(&mut in_flight, &mut seen).await;
    }
    while !in_flight.is_empty() {
        settle_oldest(&mut in_flight, &mut seen).await;
    }
    Ok(seen)
}

async fn settle_oldest(in_flight: &mut VecDeque<(Instant, Pending<SendReceipt>)>, seen: &mut Seen) {
    let Some((started, pending)) = in_flight.pop_front() else {
        return;
    };
    match pending.await {
        Ok(_) => seen.acknowledged(started),
        Err(_) => seen.errors += 1,
    }
}

/// Throughput from a backlog; latency from send to handler, one message at a time, once
/// the backlog is gone.
async fn consume(
    arguments: &Arguments,
    served: &Served,
    client: &Client,
) -> anyhow::Result<Report> {
    const BACKLOG_PER_SECOND: u64 = 300_000;
    const BACKLOG_MAX: u64 = 3_000_000;
    let backlog = (arguments.seconds * BACKLOG_PER_SECOND).min(BACKLOG_MAX);
    let load = Load::new(arguments, client)?;
    fill(&load, backlog).await?;

    let handled = Arc::new(AtomicU64::new(0));
    let (arrived, mut arrivals) = mpsc::unbounded_channel();
    let stop = Stop::new();
    let meter = Meter::start(served);
    let consumer = load
        .topics
        .iter()
        .fold(client.consumer("bench"), |consumer, topic| {
            consumer.subscribe(topic, "*")
        });
    let consumer = consumer
        .concurrency(arguments.concurrency as usize)
        .stop(stop.clone())
        .run({
            let handled = handled.clone();
            move |_: Received| {
                if handled.fetch_add(1, Ordering::Relaxed) + 1 >= backlog {
                    let _ = arrived.send(());
                }
                std::future::ready(Ok::<(), Retry>(()))
            }
        });
    let consumer = tokio::spawn(consumer);
    // The last message of the backlog, or the end of the time.
    let _ = timeout(Duration::from_secs(arguments.seconds), arrivals.recv()).await;
    let mut seen = Seen::new()?;
    seen.acknowledged = handled.load(Ordering::Relaxed);
    let mut report = meter.report("consume", &seen);
    if seen.acknowledged >= backlog {
        let latency = one_at_a_time(&load, &mut arrivals).await?;
        report.p50_us = latency.latency_us.value_at_quantile(0.5);
        report.p99_us = latency.latency_us.value_at_quantile(0.99);
        report.p999_us = latency.latency_us.value_at_quantile(0.999);
        report.errors += latency.errors;
    }
    stop.stop();
    consumer.await??;
    Ok(report)
}

async fn fill(load: &Load, messages: u64) -> anyhow::Result<()> {
    const CHUNK: u64 = 4_096;
    let mut left = messages;
    while left > 0 {
        let chunk = left.min(CHUNK * 8);
        for receipt in load
            .producer
            .send_all((0..chunk).map(|_| load.message()))
            .await
        {
            receipt?;
        }
        left -= chunk;
    }
    Ok(())
}

async fn one_at_a_time(
    load: &Load,
    arrivals: &mut mpsc::UnboundedReceiver<()>,
) -> anyhow::Result<Seen> {
    const MESSAGES: u64 = 2_000;
    const ARRIVAL_MS_MAX: u64 = 5_000;
    let mut seen = Seen::new()?;
    for _ in 0..MESSAGES {
        let started = Instant::now();
        let pending = load.producer.send_nowait(load.message()).await?;
        match timeout(Duration::from_millis(ARRIVAL_MS_MAX), arrivals.recv()).await {
            Ok(Some(())) => seen.acknowledged(started),
            Ok(None) | Err(_) => seen.errors += 1,
        }
        pending.await?;
    }
    Ok(seen)
}
