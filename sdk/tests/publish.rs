//! The Publish client against a sidecar that breaks, hangs and answers late.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod fake;

use std::time::Duration;

use fake::{FakeConsumer, FakeProducer, Sidecar, producer::Fate};
use outrigger_sdk::{Client, Durability, Message, PublishOptions, publish::Error};
use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};

const SENDERS: usize = 4;
const MESSAGES_PER_SENDER: usize = 120;

async fn client(sidecar: &Sidecar, options: PublishOptions) -> Client {
    Client::connect_with(sidecar.uri(), options).await.unwrap()
}

/// Frames of a few operations, so that many of them are under way when a stream breaks.
fn small_frames() -> PublishOptions {
    PublishOptions {
        frame_operations_max: 7,
        retry_total_ms: 60_000,
        ..PublishOptions::default()
    }
}

#[tokio::test]
async fn sends_are_stored_once_and_in_order_whatever_breaks() {
    for seed in 0..8 {
        let mut random = SmallRng::seed_from_u64(seed);
        let fake = FakeProducer::new(move |_| match random.random_range(0..100) {
            0..12 => Fate::BreakBefore,
            12..24 => Fate::BreakAfter,
            24..34 => Fate::AnswerLate,
            _ => Fate::Answer,
        });
        let sidecar = Sidecar::start(fake.clone(), FakeConsumer::default()).await;
        let client = client(&sidecar, small_frames()).await;

        let senders = (0..SENDERS).map(|sender| {
            let producer = client.producer("order-service");
            tokio::spawn(async move {
                let messages = (0..MESSAGES_PER_SENDER)
                    .map(|n| Message::new("orders", format!("{sender}/{n}")));
                producer.send_all(messages).await
            })
        });
        for receipts in futures::future::join_all(senders).await {
            assert!(receipts.unwrap().iter().all(Result::is_ok), "seed {seed}");
        }

        let store = fake.store.lock().unwrap();
        assert!(store.streams > 1, "seed {seed} broke nothing");
        for sender in 0..SENDERS {
            let prefix = format!("{sender}/");
            let stored: Vec<_> = store
                .stored
                .iter()
                .filter(|body| body.starts_with(&prefix))
                .cloned()
                .collect();
            let sent: Vec<_> = (0..MESSAGES_PER_SENDER)
                .map(|n| format!("{sender}/{n}"))
                .collect();
            assert_eq!(stored, sent, "seed {seed}");
        }
    }
}

#[tokio::test]
async fn prepare_and_resolve_survive_broken_streams() {
    let fake = FakeProducer::new(|frame| match frame % 5 {
        0 => Fate::BreakBefore,
        3 => Fate::BreakAfter,
        _ => Fate::Answer,
    });
    let sidecar = Sidecar::start(fake.clone(), FakeConsumer::default()).await;
    let producer = client(&sidecar, small_frames())
        .await
        .producer("order-service");

    let transactions = (0..100).map(|n| {
        let producer = producer.clone();
        async move {
            let prepared = producer
                .transaction()
                .message(Message::new("orders", n.to_string()))
                .prepare()
                .await
                .unwrap();
            if n % 3 == 0 {
                prepared.rollback().await.unwrap();
            } else {
                prepared.commit_with("late").await.unwrap();
            }
        }
    });
    futures::future::join_all(transactions).await;

    let store = fake.store.lock().unwrap();
    assert_eq!(store.prepared.len(), 100);
    let commits = store
        .resolved
        .values()
        .filter(|resolve| resolve.payload.as_deref() == Some(b"late"))
        .count();
    assert_eq!((store.resolved.len(), commits), (100, 66));
}

#[tokio::test]
async fn a_refused_operation_fails_alone() {
    let fake = FakeProducer::reliable();
    let sidecar = Sidecar::start(fake.clone(), FakeConsumer::default()).await;
    let producer = client(&sidecar, PublishOptions::default())
        .await
        .producer("order-service");

    let messages = ["orders", "forbidden", "orders"].map(|topic| Message::new(topic, topic));
    let receipts = producer.send_all(messages).await;

    assert!(receipts[0].is_ok() && receipts[2].is_ok());
    let Err(Error::Refused(refusal)) = &receipts[1] else {
        panic!("{:?}", receipts[1]);
    };
    assert_eq!(
        (refusal.reason.as_str(), refusal.field()),
        ("UNKNOWN_TOPIC", Some("topic"))
    );
    assert!(!refusal.is_retryable());
}

#[tokio::test]
async fn a_message_chooses_its_durability_before_its_producer_and_its_topic() {
    let sidecar = Sidecar::start(FakeProducer::reliable(), FakeConsumer::default()).await;
    let client = client(&sidecar, PublishOptions::default()).await;
    let by_topic = client.producer("order-service");
    let by_producer = by_topic.clone().durability(Durability::Accepted);
    let plain = || Message::new("orders", "17");
    let chosen = || plain().durability(Durability::Replicated);

    let cases = [
        (by_topic.send(plain()).await, Durability::Synced),
        (by_topic.send(chosen()).await, Durability::Replicated),
        (by_producer.send(plain()).await, Durability::Accepted),
        (by_producer.send(chosen()).await, Durability::Replicated),
    ];
    for (receipt, reached) in cases {
        assert_eq!(receipt.unwrap().durability, reached);
    }
    // A transaction does not take its producer's level, and cannot be given a lower one.
    let prepare = |message| by_producer.transaction().message(message).prepare();
    assert!(prepare(plain()).await.is_ok());
    assert!(
        prepare(plain().durability(Durability::Synced))
            .await
            .is_ok()
    );
    let refused = prepare(chosen()).await.unwrap_err();
    assert_eq!(refused.reason(), Some("ILLEGAL_DURABILITY"));
}

#[tokio::test]
async fn early_answers_and_broken_streams_store_nothing_twice() {
    let fake = FakeProducer::new(|frame| match frame % 4 {
        1 => Fate::BreakAfter,
        2 => Fate::BreakBefore,
        _ => Fate::Answer,
    });
    let sidecar = Sidecar::start(fake.clone(), FakeConsumer::default()).await;
    let client = client(&sidecar, small_frames()).await;
    let levels = [
        Durability::Accepted,
        Durability::Replicated,
        Durability::Synced,
    ];
    let sent: Vec<_> = (0..90).map(|n| n.to_string()).collect();
    let messages = sent.iter().zip(levels.into_iter().cycle());
    let messages = messages.map(|(n, level)| Message::new("orders", n.clone()).durability(level));
    let receipts = client.producer("order-service").send_all(messages).await;
    assert!(receipts.iter().all(Result::is_ok), "{receipts:?}");
    assert_eq!(fake.store.lock().unwrap().stored, sent);
}

#[tokio::test]
async fn an_answer_that_never_comes_is_an_unknown_outcome_and_the_next_send_works() {
    let fake = FakeProducer::new(|frame| if frame <= 2 { Fate::Hang } else { Fate::Answer });
    let sidecar = Sidecar::start(fake.clone(), FakeConsumer::default()).await;
    let options = PublishOptions {
        retry_total_ms: 300,
        ..PublishOptions::default()
    };
    let producer = client(&sidecar, options).await.producer("order-service");

    let error = producer
        .send(Message::new("orders", "lost"))
        .await
        .unwrap_err();
    assert!(
        matches!(error, Error::Unanswered { limit_ms: 300, .. }),
        "{error}"
    );
    assert!(error.is_outcome_unknown());

    // The number of the lost send is not known to be used or free: only a new epoch can go
    // on, and nothing may be refused in it.
    while producer.send(Message::new("orders", "next")).await.is_err() {}
    let receipts = producer
        .send_all((0..10).map(|n| Message::new("orders", n.to_string())))
        .await;
    assert!(receipts.iter().all(Result::is_ok), "{receipts:?}");
    let epochs = fake.store.lock().unwrap().epochs.clone();
    assert!(epochs.len() > 1 && epochs.is_sorted(), "{epochs:?}");
}

#[tokio::test]
async fn a_sidecar_that_has_forgotten_the_producer_is_told_new_numbers() {
    let fake = FakeProducer::new(|frame| match frame % 10 {
        7 => Fate::Forget,
        _ => Fate::Answer,
    });
    let sidecar = Sidecar::start(fake.clone(), FakeConsumer::default()).await;
    let producer = client(&sidecar, small_frames())
        .await
        .producer("order-service");
    let sent: Vec<_> = (0..500).map(|n| n.to_string()).collect();
    let messages = sent.iter().map(|n| Message::new("orders", n.clone()));
    let receipts = producer.send_all(messages).await;
    assert!(receipts.iter().all(Result::is_ok));
    let store = fake.store.lock().unwrap();
    assert!(store.epochs.len() > 2, "{:?}", store.epochs);
    assert_eq!(store.stored, sent);
}

#[tokio::test]
async fn without_a_sidecar_nothing_was_sent_and_it_says_so() {
    let options = PublishOptions {
        retry_total_ms: 200,
        ..PublishOptions::default()
    };
    // Nobody listens on the discard port.
    let client = Client::connect_with("http://127.0.0.1:9", options)
        .await
        .unwrap();
    let error = client
        .producer("order-service")
        .send(Message::new("orders", "17"))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
    assert!(error.is_retryable() && !error.is_outcome_unknown());
}

#[tokio::test]
async fn what_is_in_flight_is_bounded() {
    let fake = FakeProducer::new(|frame| if frame == 1 { Fate::Hang } else { Fate::Answer });
    let sidecar = Sidecar::start(fake.clone(), FakeConsumer::default()).await;
    let options = PublishOptions {
        in_flight_bytes_max: 3_000,
        operation_bytes_max: 2_000,
        retry_total_ms: 500,
        ..PublishOptions::default()
    };
    let producer = client(&sidecar, options).await.producer("order-service");

    let mut under_way = Vec::new();
    let full = loop {
        match producer.try_send(Message::new("orders", vec![0; 500])) {
            Ok(pending) => under_way.push(pending),
            Err(error) => break error,
        }
    };
    assert!(
        matches!(
            full,
            Error::Full {
                limit_bytes: 3_000,
                ..
            }
        ),
        "{full}"
    );
    assert!((3..6).contains(&under_way.len()), "{}", under_way.len());

    let large = producer.try_send(Message::new("orders", vec![0; 2_000]));
    assert!(matches!(
        large,
        Err(Error::TooLarge {
            limit_bytes: 2_000,
            ..
        })
    ));

    // Room comes back when the hanging ones are given up.
    let waiting = producer.send_nowait(Message::new("orders", vec![b'x'; 500]));
    let waited = tokio::time::timeout(Duration::from_secs(5), waiting).await;
    assert!(waited.unwrap().unwrap().await.is_ok());
}

#[tokio::test]
async fn dropping_the_client_still_sends_what_is_left() {
    let fake = FakeProducer::new(|_| Fate::AnswerLate);
    let sidecar = Sidecar::start(fake.clone(), FakeConsumer::default()).await;
    let client = client(&sidecar, small_frames()).await;
    let producer = client.producer("order-service");
    let mut under_way = Vec::new();
    for n in 0..50 {
        let message = Message::new("orders", n.to_string());
        under_way.push(producer.send_nowait(message).await.unwrap());
    }
    drop((client, producer));
    for pending in under_way {
        assert!(pending.await.is_ok());
    }
    assert_eq!(fake.store.lock().unwrap().stored.len(), 50);
}
