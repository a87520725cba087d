//! A sidecar on its own loses its power again and again, and nothing that it acknowledged.

use std::{
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use outrigger_proto::v1::{self, admin_client::AdminClient, consumer_client::ConsumerClient};
use outrigger_tests::{
    chaos::{
        journal::{Journal, eventually, fingerprint},
        load::{CONSUMER_GROUPS, Load, TOPICS, Topics},
    },
    checker::{QueueName, Replica, Resolve, Stored, check},
    sidecar::{Settings, Sidecar},
};
use tokio::time::sleep;

use crate::library;

const POWER_CUTS: u32 = 6;
const PATIENCE_MS: u64 = 60_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sidecar_without_power_forgets_nothing_that_it_acknowledged() {
    let (_directory, library) = library();
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().join("data");
    fs::create_dir(&data).expect("a directory");
    let disk = library.disk(&data, &directory.path().join("control"));
    let disk = disk.expect("a disk");
    let mut settings = Settings::new(&data)
        .with_config("[check_back]\nfirst_check_ms = 500\ninterval_ms_max = 1000\n")
        .expect("it can be written");
    for (name, value) in disk.environment() {
        settings = settings.with_env(name, value.to_str().expect("a name"));
    }
    let mut sidecar = Sidecar::start(settings).expect("it starts");
    let uri = sidecar.uri();
    create(&uri).await;

    let journal = Arc::new(Journal::default());
    let topics = Arc::new(Topics::new(1).expect("one data group"));
    let load = Load::start(&journal, std::slice::from_ref(&uri), &topics).await;
    let mut load = load.expect("an address");
    for cut in 0..POWER_CUTS {
        disk.set_leaking(if cut % 2 == 0 { 0 } else { 128 })
            .expect("it can be set");
        sleep(Duration::from_millis(300)).await;
        sidecar.kill().expect("it can be killed");
        sidecar.restart().expect("it starts again");
        let before = journal.progress();
        let served = eventually(PATIENCE_MS, async || {
            let now = journal.progress();
            let goes_on = |(who, count): (&String, &u64)| now.get(who) > Some(count);
            before.iter().all(goes_on)
        });
        assert!(served.await, "not all are served again: {before:?}");
    }
    load.end_sending(&journal).await;
    let began = Instant::now();
    let decided = eventually(PATIENCE_MS, async || undecided(&uri).await == 0);
    assert!(decided.await, "some transactions are never decided");
    let drained = eventually(PATIENCE_MS, async || backlog(&uri).await == 0);
    assert!(drained.await, "some messages are never delivered");
    load.end_consuming(&journal).await;

    let replica = read(&uri).await;
    let mut history = journal.take();
    for transaction in &mut history.transactions {
        if transaction.resolved == Resolve::Unknown {
            transaction.resolved = Resolve::CheckedBack;
        }
    }
    for group in CONSUMER_GROUPS {
        let topics = TOPICS.map(|(topic, _)| (group.to_owned(), topic.to_owned()));
        history.drained.extend(topics);
    }
    let report = check(&history, &[replica]);
    println!("{report}; quiet after {:?}", began.elapsed());
    assert!(report.is_clean(), "{report}");
    assert!(report.acknowledged > 500, "{report}");
}

async fn create(uri: &str) {
    let mut admin = AdminClient::connect(uri.to_owned())
        .await
        .expect("it is there");
    for (topic, queues) in TOPICS {
        let topic = topic.to_owned();
        let request = v1::CreateTopicRequest {
            topic,
            queues,
            ..Default::default()
        };
        admin.create_topic(request).await.expect("a new topic");
    }
    for group in CONSUMER_GROUPS {
        let request = v1::CreateConsumerGroupRequest {
            consumer_group: group.to_owned(),
            start_from: v1::StartFrom::First.into(),
            max_attempts: 1_000,
            retry_delays_ms: vec![200],
        };
        let created = admin.create_consumer_group(request).await;
        created.expect("a new group");
    }
}

async fn undecided(uri: &str) -> usize {
    let mut admin = AdminClient::connect(uri.to_owned())
        .await
        .expect("it is there");
    let request = v1::ListTransactionsRequest::default();
    let answer = admin.list_transactions(request).await.expect("an answer");
    answer.into_inner().transactions.len()
}

async fn backlog(uri: &str) -> u64 {
    let mut admin = AdminClient::connect(uri.to_owned())
        .await
        .expect("it is there");
    let mut backlog = 0;
    for group in CONSUMER_GROUPS {
        let consumer_group = group.to_owned();
        let request = v1::DescribeConsumerGroupRequest { consumer_group };
        let answer = admin.describe_consumer_group(request).await;
        let queues = answer.expect("an answer").into_inner().queues;
        backlog += queues.iter().map(|queue| queue.backlog).sum::<u64>();
    }
    backlog
}

/// What a consumer group of its own receives.
async fn read(uri: &str) -> Replica {
    let mut consumer = ConsumerClient::connect(uri.to_owned())
        .await
        .expect("it is there")
        .max_decoding_message_size(64 << 20);
    let mut replica = Replica {
        node: 1,
        ..Replica::default()
    };
    loop {
        let subscriptions = TOPICS.map(|(topic, _)| v1::Subscription {
            topic: topic.to_owned(),
            filter: "*".to_owned(),
        });
        let request = v1::ReceiveRequest {
            consumer_group: "reader".to_owned(),
            subscriptions: subscriptions.into(),
            max_messages: 4_096,
            wait_ms: 1_000,
            invisible_ms: 600_000,
            instance: "reader".to_owned(),
        };
        let answer = consumer.receive(request).await.expect("an answer");
        let deliveries = answer.into_inner().deliveries;
        if deliveries.is_empty() {
            break;
        }
        let receipts = deliveries.iter().map(|delivery| delivery.receipt.clone());
        let request = v1::AckRequest {
            consumer_group: "reader".to_owned(),
            receipts: receipts.collect(),
        };
        consumer.ack(request).await.expect("an answer");
        for delivery in deliveries {
            let message = delivery.message.expect("a message");
            let name = QueueName {
                topic: message.topic.clone(),
                queue: delivery.queue,
            };
            replica
                .queues
                .entry(name)
                .or_default()
                .messages
                .push(Stored {
                    offset: delivery.offset,
                    fingerprint: fingerprint(&message),
                    id: message.message_id,
                });
        }
    }
    for queue in replica.queues.values_mut() {
        queue.messages.sort_by_key(|stored| stored.offset);
    }
    replica
}
