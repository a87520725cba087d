//! Deliveries: leases, retries, order, filters, delays, dead letters.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use outrigger_sdk::{
    Client, Message, Stop,
    admin::wire::{CreateConsumerGroupRequest, StartFrom},
    consumer::{Received, Retry},
};
use tokio::sync::mpsc;

use crate::harness::{Bench, eventually, read_all, stored_count};

/// What the handlers of each message group did, in order: began or ended, with which number.
type Steps = Arc<Mutex<BTreeMap<String, Vec<(bool, usize)>>>>;

/// Runs a consumer in the background; dropping it ends it without ceremony.
fn consume<F, Fut>(client: &Client, group: &str, topic: &str, filter: &str, handler: F) -> Consumer
where
    F: Fn(Received) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), Retry>> + Send + 'static,
{
    let stop = Stop::new();
    let consumer = client
        .consumer(group)
        .subscribe(topic, filter)
        .invisible(Duration::from_secs(1))
        .stop(stop.clone())
        .run(handler);
    Consumer {
        stop,
        task: tokio::spawn(consumer),
    }
}

struct Consumer {
    stop: Stop,
    task: tokio::task::JoinHandle<Result<(), outrigger_sdk::consumer::Error>>,
}

impl Consumer {
    async fn stop(self) {
        self.stop.stop();
        self.task.await.expect("no panic").expect("it stops");
    }

    /// As if its process had died.
    fn die(self) {
        self.task.abort();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ack_survives_a_crash_and_a_lease_does_not_hold_for_ever() {
    let mut bench = Bench::start();
    let client = bench.client().await;
    let producer = client.producer("p");
    for body in ["acked", "held"] {
        producer.send(Message::new("t", body)).await.expect("sent");
    }
    let (acked, mut is_acked) = mpsc::unbounded_channel();
    let (held, mut is_held) = mpsc::unbounded_channel();
    let first = consume(&client, "g", "t", "*", move |message| {
        let (acked, held) = (acked.clone(), held.clone());
        async move {
            if message.body().as_ref() == b"acked" {
                let _ = acked.send(());
                return Ok(());
            }
            let _ = held.send(());
            std::future::pending().await
        }
    });
    is_acked.recv().await.expect("delivered");
    is_held.recv().await.expect("delivered");
    eventually("the ack is recorded", async || {
        let group = client.admin().consumer_group("g").await.expect("it exists");
        group.queues.iter().map(|queue| queue.backlog).sum::<u64>() == 1
    })
    .await;
    first.die();
    bench.sidecar.restart().expect("it starts again");

    let (arrived, mut arrivals) = mpsc::unbounded_channel();
    let second = consume(&client, "g", "t", "*", move |message| {
        let _ = arrived.send(message.body().clone());
        std::future::ready(Ok(()))
    });
    assert_eq!(arrivals.recv().await.expect("delivered"), "held");
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(arrivals.try_recv().is_err(), "the acked message came again");
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_of_one_group_come_strictly_one_after_the_other() {
    const GROUPS: usize = 20;
    const EACH: usize = 15;
    let bench = Bench::start();
    let client = bench.client().await;
    let group = CreateConsumerGroupRequest {
        consumer_group: "fifo".into(),
        retry_delays_ms: vec![10],
        ..Default::default()
    };
    client
        .admin()
        .create_consumer_group(group)
        .await
        .expect("created");
    let messages = (0..EACH).flat_map(|n| {
        (0..GROUPS).map(move |group| {
            Message::new("ordered", n.to_string()).message_group(format!("group-{group}"))
        })
    });
    for receipt in client.producer("p").send_all(messages).await {
        receipt.expect("sent");
    }
    // What each message group saw: when a handler began and ended, and with what.
    let seen: Steps = Arc::default();
    let consumer = |seen: Steps| {
        consume(&client, "fifo", "ordered", "*", move |message| {
            let seen = seen.clone();
            async move {
                let number: usize = String::from_utf8_lossy(message.body()).parse()?;
                let note = |ended| {
                    let group = message.message_group().to_owned();
                    seen.lock()
                        .expect("not poisoned")
                        .entry(group)
                        .or_default()
                        .push((ended, number));
                };
                note(false);
                tokio::time::sleep(Duration::from_millis(2)).await;
                // Every fifth message fails at first; those behind it must wait.
                if number.is_multiple_of(5) && message.attempt() == 1 {
                    return Err(Retry::after(Duration::from_millis(20)));
                }
                note(true);
                Ok(())
            }
        })
    };
    let (one, two) = (consumer(seen.clone()), consumer(seen.clone()));
    eventually("everything is handled", async || {
        let seen = seen.lock().expect("not poisoned");
        seen.values().flatten().filter(|(ended, _)| *ended).count() == GROUPS * EACH
    })
    .await;
    one.stop().await;
    two.stop().await;
    for (group, steps) in seen.lock().expect("not poisoned").iter() {
        let ended: Vec<usize> = steps
            .iter()
            .filter(|(ended, _)| *ended)
            .map(|(_, n)| *n)
            .collect();
        assert_eq!(ended, (0..EACH).collect::<Vec<_>>(), "{group} out of order");
        let mut expected = 0;
        for (ended, number) in steps {
            assert_eq!(*number, expected, "{group} overlapped: {steps:?}");
            expected += usize::from(*ended);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_keeps_failing_becomes_a_dead_letter() {
    let bench = Bench::start();
    let client = bench.client().await;
    let group = CreateConsumerGroupRequest {
        consumer_group: "failing".into(),
        max_attempts: 3,
        retry_delays_ms: vec![20],
        ..Default::default()
    };
    client
        .admin()
        .create_consumer_group(group)
        .await
        .expect("created");
    let producer = client.producer("p");
    producer
        .send(Message::new("t", "poison").tag("x"))
        .await
        .expect("sent");
    producer
        .send(Message::new("t", "fine"))
        .await
        .expect("sent");
    let (arrived, mut arrivals) = mpsc::unbounded_channel();
    let consumer = consume(&client, "failing", "t", "*", move |message| {
        let poison = message.body().as_ref() == b"poison";
        if poison {
            let _ = arrived.send(message.attempt());
        }
        std::future::ready(if poison { Err("cannot".into()) } else { Ok(()) })
    });
    for attempt in 1..=3 {
        assert_eq!(arrivals.recv().await, Some(attempt));
    }
    eventually("it is a dead letter", async || {
        client.admin().topic("%DLQ%failing").await.is_ok()
            && stored_count(&client, "%DLQ%failing").await == 1
    })
    .await;
    consumer.stop().await;
    assert_eq!(
        read_all(&client, "%DLQ%failing")
            .await
            .into_keys()
            .collect::<Vec<_>>(),
        ["poison"]
    );
    let group = client
        .admin()
        .consumer_group("failing")
        .await
        .expect("it exists");
    assert_eq!(
        group.queues.iter().map(|queue| queue.backlog).sum::<u64>(),
        0
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tags_choose_and_what_they_leave_out_is_done() {
    let bench = Bench::start();
    let client = bench.client().await;
    let producer = client.producer("p");
    for tag in ["created", "paid", "shipped", "created"] {
        producer
            .send(Message::new("orders", tag).tag(tag))
            .await
            .expect("sent");
    }
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let consumer = consume(&client, "picky", "orders", "created || shipped", {
        let seen = seen.clone();
        move |message| {
            seen.lock()
                .expect("not poisoned")
                .push(message.tag().to_owned());
            std::future::ready(Ok(()))
        }
    });
    eventually("nothing is left", async || {
        let Ok(group) = client.admin().consumer_group("picky").await else {
            return false;
        };
        !group.queues.is_empty()
            && group.queues.iter().all(|queue| queue.backlog == 0)
            && seen.lock().expect("not poisoned").len() == 3
    })
    .await;
    consumer.stop().await;
    let mut seen = seen.lock().expect("not poisoned").clone();
    seen.sort();
    assert_eq!(seen, ["created", "created", "shipped"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delayed_message_waits_for_its_time_also_over_a_crash() {
    const DELAY: Duration = Duration::from_millis(1_500);
    let mut bench = Bench::start();
    let client = bench.client().await;
    let sent = Instant::now();
    let producer = client.producer("p");
    producer
        .send(Message::new("later", "late").deliver_after(DELAY))
        .await
        .expect("sent");
    producer
        .transaction()
        .message(Message::new("later", "late and committed").deliver_after(DELAY))
        .prepare()
        .await
        .expect("prepared")
        .commit()
        .await
        .expect("committed");
    assert_eq!(stored_count(&client, "later").await, 0);
    bench.sidecar.restart().expect("it starts again");
    eventually("both are due", async || {
        stored_count(&client, "later").await == 2
    })
    .await;
    assert!(
        sent.elapsed() >= DELAY - Duration::from_millis(1),
        "too early: {:?}",
        sent.elapsed()
    );
    let delivered: Vec<String> = read_all(&client, "later").await.into_keys().collect();
    assert_eq!(delivered, ["late", "late and committed"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_group_starts_where_it_was_told() {
    let bench = Bench::start();
    let client = bench.client().await;
    let producer = client.producer("p");
    producer.send(Message::new("t", "old")).await.expect("sent");
    let group = CreateConsumerGroupRequest {
        consumer_group: "latecomer".into(),
        start_from: StartFrom::Last.into(),
        ..Default::default()
    };
    client
        .admin()
        .create_consumer_group(group)
        .await
        .expect("created");
    let (arrived, mut arrivals) = mpsc::unbounded_channel();
    let consumer = consume(&client, "latecomer", "t", "*", move |message| {
        let _ = arrived.send(message.body().clone());
        std::future::ready(Ok(()))
    });
    eventually("it has subscribed", async || {
        let group = client
            .admin()
            .consumer_group("latecomer")
            .await
            .expect("it exists");
        !group.queues.is_empty()
    })
    .await;
    producer.send(Message::new("t", "new")).await.expect("sent");
    assert_eq!(arrivals.recv().await.expect("delivered"), "new");
    consumer.stop().await;
}
