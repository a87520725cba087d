//! The client of applications before data groups whose streams break and whose leaders come and
//! go.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use outrigger_sdk::{Client, Message, PublishOptions, Stop};
use tokio::{
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::{Cluster, LONG};

/// Breaks one data group after the other until it is aborted.
fn faults(cluster: &Arc<Cluster>) -> JoinHandle<()> {
    let cluster = Arc::clone(cluster);
    tokio::spawn(async move {
        for step in 0_usize.. {
            let group = &cluster.groups[step % cluster.groups.len()];
            match step % 4 {
                0..=2 => group.cut_after((step * 7 % 5) as i64),
                _ => {
                    group.lose();
                    sleep(Duration::from_millis(3)).await;
                    group.lead();
                }
            }
            sleep(Duration::from_millis(20)).await;
        }
    })
}

async fn client(cluster: &Cluster) -> Client {
    let options = PublishOptions {
        retry_total_ms: 60_000,
        ..PublishOptions::default()
    };
    Client::connect_with(&cluster.uri, options).await.unwrap()
}

/// Nothing breaks any more: every data group has a leader.
async fn calm(cluster: &Cluster, faults: JoinHandle<()>) {
    faults.abort();
    let _ = faults.await;
    for group in &cluster.groups {
        group.cut_after(-1);
        group.lead();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_acknowledged_send_is_stored_once_and_in_order_whatever_breaks() {
    const SENT: usize = 4_000;
    let cluster = Arc::new(Cluster::start(3).await);
    let topics = cluster.topics(3).concat();
    let faults = faults(&cluster);
    let producer = client(&cluster).await.producer("shop");
    let mut answers = Vec::new();
    for number in 0..SENT {
        // Not in turn, so that there are runs of one data group as well.
        let topic = &topics[(number * number / 7) % topics.len()];
        let message = Message::new(topic, number.to_string());
        answers.push(producer.send_nowait(message).await.unwrap());
        if number % 50 == 0 {
            sleep(Duration::from_millis(2)).await;
        }
    }
    for answer in answers {
        timeout(LONG, answer).await.unwrap().unwrap();
    }
    calm(&cluster, faults).await;
    let mut all = Vec::new();
    for group in &cluster.groups {
        let stored: Vec<usize> = group
            .stored()
            .iter()
            .map(|message| std::str::from_utf8(&message.body).unwrap().parse().unwrap())
            .collect();
        assert!(
            stored.len() > SENT / 10,
            "{} in one data group",
            stored.len()
        );
        assert!(stored.is_sorted(), "out of order: {stored:?}");
        all.extend(stored);
    }
    all.sort_unstable();
    assert_eq!(all, (0..SENT).collect::<Vec<_>>());
}

/// What was handled is not delivered again when everything is calm, and nothing is left out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_message_is_handled_and_its_ack_recorded_whatever_breaks() {
    const SENT: usize = 1_000;
    let cluster = Arc::new(Cluster::start(3).await);
    let topics = cluster.topics(2).concat();
    let client = client(&cluster).await;
    let sends =
        (0..SENT).map(|number| Message::new(&topics[number % topics.len()], number.to_string()));
    for sent in client.producer("shop").send_all(sends).await {
        sent.unwrap();
    }
    let faults = faults(&cluster);
    let handled = Arc::new(Mutex::new(BTreeMap::<usize, u32>::new()));
    let stop = Stop::new();
    let mut consumer = client.consumer("stock").concurrency(8).stop(stop.clone());
    for topic in &topics {
        consumer = consumer.subscribe(topic, "*");
    }
    let seen = Arc::clone(&handled);
    let running = tokio::spawn(consumer.run(move |message| {
        let number = std::str::from_utf8(message.body())
            .unwrap()
            .parse()
            .unwrap();
        *seen.lock().unwrap().entry(number).or_default() += 1;
        async { Ok(()) }
    }));
    let all = async {
        while handled.lock().unwrap().len() < SENT {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(LONG, all)
        .await
        .expect("a message was never delivered");
    calm(&cluster, faults).await;
    stop.stop();
    timeout(LONG, running).await.unwrap().unwrap().unwrap();
    // Its acks are confirmed, so whoever comes next gets nothing.
    for group in &cluster.groups {
        assert_eq!(group.backlog("stock"), 0);
    }
}
