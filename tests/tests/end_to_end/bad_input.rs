//! Input that cannot be right: a typed error with field, value and limit, and nothing lost.

mod transactions;

use outrigger_proto::v1::{
    self, AckRequest, BodySource, GuardAcquireRequest, GuardBackend, GuardKey, Message, Operation,
    ProducerIdentity, PublishRequest, ReceiveRequest, SendRequest, Subscription,
    consumer_client::ConsumerClient, guard_client::GuardClient, operation, outcome,
    producer_client::ProducerClient,
};
use tonic::{Code, Status, transport::Channel};
use tonic_types::StatusExt as _;
use uuid::Uuid;

use crate::harness::{Bench, read_all};

/// Code, reason, and the named metadata of a status.
fn told(status: &Status) -> (Code, String, String) {
    let info = status
        .get_error_details()
        .error_info()
        .cloned()
        .unwrap_or_else(|| {
            panic!("no ErrorInfo in {status:?}");
        });
    assert_eq!(info.domain, "outrigger");
    (
        status.code(),
        info.reason,
        info.metadata.get("field").cloned().unwrap_or_default(),
    )
}

fn expect(status: &Status, code: Code, reason: &str, field: &str) {
    assert_eq!(
        told(status),
        (code, reason.to_owned(), field.to_owned()),
        "{status:?}"
    );
}

struct Calls {
    bench: Bench,
    producer: ProducerClient<Channel>,
    consumer: ConsumerClient<Channel>,
    guard: GuardClient<Channel>,
}

async fn calls(config: &str) -> Calls {
    let bench = Bench::start_with_config(config);
    let channel = Channel::from_shared(bench.sidecar.uri())
        .expect("a URI")
        .connect()
        .await;
    let channel = channel.expect("connected");
    Calls {
        bench,
        producer: ProducerClient::new(channel.clone()).max_encoding_message_size(64 << 20),
        consumer: ConsumerClient::new(channel.clone()),
        guard: GuardClient::new(channel),
    }
}

fn message(topic: &str) -> Message {
    Message {
        topic: topic.into(),
        body: "b".into(),
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_over_a_limit_or_with_illegal_names_are_refused() {
    let mut calls = calls("").await;
    let properties = |count: usize, size: usize| {
        (0..count)
            .map(|n| (format!("{n}"), "v".repeat(size)))
            .collect()
    };
    let cases = [
        (message("no spaces"), "ILLEGAL_NAME", "topic"),
        (message(""), "ILLEGAL_NAME", "topic"),
        (message(&"t".repeat(128)), "TEXT_TOO_LONG", "message.topic"),
        (
            Message {
                body: vec![0; (4 << 20) + 1].into(),
                ..message("t")
            },
            "BODY_TOO_LARGE",
            "message.body",
        ),
        (
            Message {
                properties: properties(129, 1),
                ..message("t")
            },
            "TOO_MANY_PROPERTIES",
            "message.properties",
        ),
        (
            Message {
                properties: properties(2, 20_000),
                ..message("t")
            },
            "PROPERTIES_TOO_LARGE",
            "message.properties",
        ),
        (
            Message {
                tag: "a || b".into(),
                ..message("t")
            },
            "ILLEGAL_TAG",
            "message.tag",
        ),
        (
            Message {
                message_id: "i".repeat(129),
                ..message("t")
            },
            "TEXT_TOO_LONG",
            "message.message_id",
        ),
        (
            Message {
                deliver_at_ms: u64::MAX,
                ..message("t")
            },
            "DELAY_TOO_LONG",
            "message.deliver_at_ms",
        ),
        (
            Message {
                body_source: BodySource::FromFence.into(),
                ..message("t")
            },
            "ILLEGAL_BODY_SOURCE",
            "message.body_source",
        ),
    ];
    for (message, reason, field) in cases {
        let refused = calls
            .producer
            .send(SendRequest {
                message: Some(message),
                durability: 0,
            })
            .await;
        expect(
            &refused.expect_err("illegal"),
            Code::InvalidArgument,
            reason,
            field,
        );
    }
    let client = calls.bench.client().await;
    calls
        .producer
        .send(SendRequest {
            message: Some(message("t")),
            durability: 0,
        })
        .await
        .expect("legal");
    assert_eq!(
        read_all(&client, "t").await.len(),
        1,
        "a refused message was stored"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_auto_create_unknown_topics_and_groups_are_not_found() {
    let Calls {
        mut producer,
        mut consumer,
        bench: _bench,
        ..
    } = calls("auto_create = false\n").await;
    let topic = producer
        .send(SendRequest {
            message: Some(message("t")),
            durability: 0,
        })
        .await;
    expect(
        &topic.expect_err("unknown"),
        Code::NotFound,
        "TOPIC_NOT_FOUND",
        "topic",
    );
    let receive = ReceiveRequest {
        consumer_group: "g".into(),
        subscriptions: vec![Subscription {
            topic: "t".into(),
            filter: "*".into(),
        }],
        ..Default::default()
    };
    let group = consumer.receive(receive).await.expect_err("unknown");
    let (code, reason, _) = told(&group);
    assert_eq!(code, Code::NotFound);
    assert!(
        ["CONSUMER_GROUP_NOT_FOUND", "TOPIC_NOT_FOUND"].contains(&reason.as_str()),
        "{reason}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receipt_that_is_stale_or_made_up_is_refused() {
    let Calls {
        mut producer,
        mut consumer,
        bench: _bench,
        ..
    } = calls("").await;
    producer
        .send(SendRequest {
            message: Some(message("t")),
            durability: 0,
        })
        .await
        .expect("sent");
    let receive = || ReceiveRequest {
        consumer_group: "g".into(),
        subscriptions: vec![Subscription {
            topic: "t".into(),
            filter: "*".into(),
        }],
        max_messages: 1,
        wait_ms: 10_000,
        invisible_ms: 1_000,
        ..Default::default()
    };
    let deliveries =
        |response: tonic::Response<v1::ReceiveResponse>| response.into_inner().deliveries;
    let first = deliveries(consumer.receive(receive()).await.expect("leased")).remove(0);
    // The lease runs out; after the retry table's first wait the message would come again.
    // A nack asks for that at once, which makes the first receipt stale.
    let nack = v1::NackRequest {
        consumer_group: "g".into(),
        nacks: vec![v1::Nack {
            receipt: first.receipt.clone(),
            delay_ms: Some(0),
        }],
    };
    assert_eq!(
        consumer
            .nack(nack)
            .await
            .expect("nacked")
            .into_inner()
            .errors,
        []
    );
    let second = deliveries(consumer.receive(receive()).await.expect("leased again")).remove(0);
    assert_eq!((first.attempt, second.attempt), (1, 2));

    let ack = |receipts: Vec<bytes::Bytes>| AckRequest {
        consumer_group: "g".into(),
        receipts,
    };
    let answer = consumer
        .ack(ack(vec![first.receipt.clone(), "made up".into()]))
        .await;
    let errors = answer.expect("answered").into_inner().errors;
    let mut reasons: Vec<String> = errors
        .into_iter()
        .map(|error| error.error.expect("an error").reason)
        .collect();
    reasons.sort();
    assert_eq!(reasons, ["ILLEGAL_RECEIPT", "STALE_RECEIPT"]);
    let good = consumer
        .ack(ack(vec![second.receipt]))
        .await
        .expect("acked")
        .into_inner();
    assert_eq!(good.errors, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_message_in_a_batch_stops_neither_the_others_nor_the_sequence() {
    let Calls {
        bench,
        mut producer,
        ..
    } = calls("").await;
    let identity = ProducerIdentity {
        producer_id: Uuid::now_v7().to_string(),
        epoch: 0,
    };
    let send = |body: &'static str, tag: &str| Operation {
        kind: Some(operation::Kind::Send(Message {
            body: body.into(),
            tag: tag.into(),
            ..message("t")
        })),
        durability: 0,
    };
    let batch = |first_sequence, operations| PublishRequest {
        producer: Some(identity.clone()),
        first_sequence,
        operations,
        ..Default::default()
    };
    let batches = [
        batch(
            1,
            vec![send("one", ""), send("two", "a|b"), send("three", "")],
        ),
        batch(4, vec![send("four", "")]),
        // The whole first batch again, as after a lost connection; then a gap.
        batch(
            1,
            vec![send("one", ""), send("two", "a|b"), send("three", "")],
        ),
        batch(9, vec![send("nine", "")]),
    ];
    let mut answers = producer
        .publish(tokio_stream::iter(batches))
        .await
        .expect("a stream")
        .into_inner();
    let mut told = Vec::new();
    while let Some(response) = answers.message().await.expect("answers") {
        told.extend(
            response
                .outcomes
                .into_iter()
                .map(|outcome| match outcome.kind {
                    Some(outcome::Kind::Sent(receipt)) if receipt.duplicate => {
                        "duplicate".to_owned()
                    }
                    Some(outcome::Kind::Sent(_)) => "sent".to_owned(),
                    Some(outcome::Kind::Error(error)) => error.reason,
                    other => panic!("{other:?}"),
                }),
        );
    }
    let expected = [
        "sent",
        "ILLEGAL_TAG",
        "sent",
        "sent",
        "duplicate",
        "ILLEGAL_TAG",
        "duplicate",
        "SEQUENCE_GAP",
    ];
    assert_eq!(told, expected);
    let client = bench.client().await;
    let delivered: Vec<String> = read_all(&client, "t").await.into_keys().collect();
    assert_eq!(delivered, ["four", "one", "three"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_cannot_be_reached_closes_the_guard() {
    let config = "[guards]\nredis_url = \"redis://127.0.0.1:1/\"\n";
    let Calls {
        mut guard,
        bench: _bench,
        ..
    } = calls(config).await;
    let acquire = |backend: GuardBackend| GuardAcquireRequest {
        guard: Some(GuardKey {
            scope: "s".into(),
            key: "k".into(),
            backend: backend.into(),
            ..Default::default()
        }),
        token: "t".into(),
        ..Default::default()
    };
    let closed = guard
        .acquire(acquire(GuardBackend::Redis))
        .await
        .expect_err("unreachable");
    assert_eq!(closed.code(), Code::Unavailable, "{closed:?}");
    guard
        .acquire(acquire(GuardBackend::Embedded))
        .await
        .expect("the other store works");

    let no_key = GuardAcquireRequest {
        guard: None,
        token: "t".into(),
        ..Default::default()
    };
    let no_key = guard.acquire(no_key).await.expect_err("no key");
    assert_eq!(no_key.code(), Code::InvalidArgument, "{no_key:?}");
}
