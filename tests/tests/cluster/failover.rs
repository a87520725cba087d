//! Leaders die, stand still and leave in order.

use outrigger_sdk::{
    Message, Stop,
    consumer::{Received, Retry},
};
use outrigger_tests::cluster::Cluster;
use rustix::process::Signal;

use crate::load::{Load, check, client, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaders_die_and_nothing_acknowledged_is_lost() -> anyhow::Result<()> {
    let mut cluster = Cluster::start(3).await?;
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
    for id in cluster.ids() {
        let status = cluster.stop(id).await?;
        assert!(status.success(), "{status}: {}", cluster.output(id));
        cluster.start_node(id).await?;
        load.goes_on(200).await;
    }
    let led: Vec<_> = cluster
        .ids()
        .into_iter()
        .map(|id| cluster.output(id))
        .collect();
    assert!(
        led.iter()
            .any(|output| output.contains("the lead is handed over"))
    );
    let told = load.stop().await;
    check(&client(cluster.uri(2)).await, &told).await;
    cluster.agree(&[1, 2, 3]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_stood_still_delivers_nothing_from_the_past() -> anyhow::Result<()> {
    let cluster = Cluster::start(3).await?;
    let paused = cluster.leader().await?;
    let stuck = client(cluster.uri(paused)).await;
    let other = client(cluster.uri(cluster.follower().await?)).await;
    other
        .producer("p")
        .send(Message::new("topic", "before"))
        .await?;
    let (seen, mut delivered) = tokio::sync::mpsc::unbounded_channel();
    let stop = Stop::new();
    let consumer = stuck
        .consumer("group")
        .subscribe("topic", "*")
        .stop(stop.clone());
    let consumer = tokio::spawn(consumer.run(move |message: Received| {
        let _ = seen.send(String::from_utf8_lossy(message.body()).into_owned());
        std::future::ready(Ok::<(), Retry>(()))
    }));
    assert_eq!(delivered.recv().await.as_deref(), Some("before"));

    // While it stands still another node leads, and the group gets the next message there.
    cluster.signal(paused, Signal::STOP)?;
    eventually("another node leads", async || {
        let others = cluster.ids().into_iter().filter(|id| *id != paused);
        for id in others {
            let status = cluster.status(id).await;
            if status.is_ok_and(|status| status.leader == id) {
                return true;
            }
        }
        false
    })
    .await;
    other
        .producer("p")
        .send(Message::new("topic", "meanwhile"))
        .await?;
    let received = async {
        let (first, mut done) = tokio::sync::mpsc::unbounded_channel();
        let stop = Stop::new();
        let consumer = other
            .consumer("group")
            .subscribe("topic", "*")
            .stop(stop.clone());
        let consumer = tokio::spawn(consumer.run(move |message: Received| {
            let _ = first.send(String::from_utf8_lossy(message.body()).into_owned());
            std::future::ready(Ok::<(), Retry>(()))
        }));
        // It may get the first one again, whose ack may not have come to the new leader.
        while done.recv().await.as_deref() != Some("meanwhile") {}
        stop.stop();
        consumer.await
    };
    received.await??;

    cluster.signal(paused, Signal::CONT)?;
    other
        .producer("p")
        .send(Message::new("topic", "after"))
        .await?;
    let mut late = Vec::new();
    while let Some(body) = delivered.recv().await {
        let is_last = body == "after";
        late.push(body);
        if is_last {
            break;
        }
    }
    assert!(!late.contains(&"meanwhile".to_owned()), "{late:?}");
    stop.stop();
    consumer.await??;
    Ok(())
}
