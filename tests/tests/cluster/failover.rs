//! Leaders die, stand still and leave in order.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use outrigger_proto::v1::{self, consumer_client::ConsumerClient};
use outrigger_sdk::{
    Message, Stop,
    consumer::{Received, Retry},
};
use outrigger_tests::cluster::Cluster;
use rustix::process::Signal;
use tokio::{sync::mpsc, time::sleep};
use tokio_stream::wrappers::ReceiverStream;

use crate::{
    groups::THREE,
    load::{Load, PATIENCE, check, client, eventually},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaders_die_and_nothing_acknowledged_is_lost() -> anyhow::Result<()> {
    leaders_die("").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaders_of_several_data_groups_die_and_nothing_acknowledged_is_lost() -> anyhow::Result<()>
{
    leaders_die(THREE).await
}

async fn leaders_die(toml: &str) -> anyhow::Result<()> {
    let mut cluster = Cluster::start_with(3, toml).await?;
    let uris = cluster
        .ids()
        .into_iter()
        .map(|id| cluster.uri(id))
        .collect();
    let load = Load::start(uris).await;
    load.goes_on(500).await;
    for _ in 0..4 {
        let leader = cluster.leader().await?;
        cluster.kill(leader)?;
        let next = cluster.leader().await?;
        assert_ne!(next, leader);
        cluster.start_node(leader).await?;
        load.goes_on(500).await;
    }
    let told = load.stop().await;
    check(&client(cluster.uri(1)).await, &told).await;
    cluster.agree(&[1, 2, 3]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_is_not_noticed() -> anyhow::Result<()> {
    let mut cluster = Cluster::start_with(3, "drain_ms = 5000\n").await?;
    let uris = cluster
        .ids()
        .into_iter()
        .map(|id| cluster.uri(id))
        .collect();
    let load = Load::start(uris).await;
    load.goes_on(200).await;
    let mut handed_over = 0;
    for id in cluster.ids() {
        let leads = cluster.leader().await? == id;
        let status = cluster.stop(id).await?;
        let printed = cluster.output(id);
        assert!(status.success(), "{status}: {printed}");
        if leads {
            assert!(printed.contains("leadership was handed over"), "{printed}");
            handed_over += 1;
        }
        cluster.start_node(id).await?;
        load.goes_on(200).await;
    }
    assert!(handed_over > 0, "each node was stopped, the leader too");
    let told = load.stop().await;
    check(&client(cluster.uri(2)).await, &told).await;
    cluster.agree(&[1, 2, 3]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_stood_still_delivers_nothing_from_the_past() -> anyhow::Result<()> {
    const INVISIBLE_MS: u64 = 1_000;
    let cluster = Cluster::start(3).await?;
    let paused = cluster.leader().await?;
    let other = client(cluster.uri(cluster.follower().await?)).await;
    let producer = other.producer("p");
    producer.send(Message::new("topic", "one")).await?;

    // A consumer at the leader gets the message and does not answer: after its lease the
    // message would come again.
    let (requests, requested) = mpsc::channel(1);
    let subscribe = v1::Subscribe {
        consumer_group: "group".to_owned(),
        subscriptions: vec![v1::Subscription {
            topic: "topic".to_owned(),
            filter: "*".to_owned(),
        }],
        invisible_ms: INVISIBLE_MS,
        instance: "silent".to_owned(),
    };
    requests
        .send(v1::ConsumeRequest {
            subscribe: Some(subscribe),
            credits: 10,
            ..v1::ConsumeRequest::default()
        })
        .await?;
    let mut silent = ConsumerClient::connect(cluster.uri(paused)).await?;
    let deliveries = silent.consume(ReceiverStream::new(requested)).await?;
    let mut deliveries = deliveries.into_inner();
    let first = deliveries.message().await?.expect("a delivery");
    assert_eq!(first.deliveries.len(), 1);

    // While the leader stands still another one leads, where the message is dealt with.
    cluster.signal(paused, Signal::STOP)?;
    let stop = Stop::new();
    let done = Arc::new(AtomicBool::new(false));
    let consumer = other.consumer("group").subscribe("topic", "*");
    let consumer = tokio::spawn(consumer.stop(stop.clone()).run({
        let done = Arc::clone(&done);
        move |_: Received| {
            done.store(true, Ordering::Relaxed);
            std::future::ready(Ok::<(), Retry>(()))
        }
    }));
    eventually("it is dealt with", async || done.load(Ordering::Relaxed)).await;
    // Stopping waits until the ack is durable.
    stop.stop();
    consumer.await??;
    sleep(Duration::from_millis(INVISIBLE_MS)).await;

    cluster.signal(paused, Signal::CONT)?;
    let mut late = Vec::new();
    let ended = async {
        while let Ok(Some(response)) = deliveries.message().await {
            late.extend(response.deliveries);
        }
    };
    tokio::time::timeout(PATIENCE, ended).await?;
    assert!(late.is_empty(), "delivered again: {late:?}");
    Ok(())
}
