//! Sends that are answered before they are synced: the answer says so, nothing is stored
//! twice, and a producer that lost some goes on.

use std::collections::BTreeMap;

use outrigger_proto::v1::{
    self, CreateTopicRequest, DescribeTopicRequest, Durability, Message, Operation, PrepareRequest,
    ProducerIdentity, PublishRequest, ResolveRequest, SendReceipt, SendRequest, UpdateTopicRequest,
    Verdict, admin_client::AdminClient, operation::Kind, outcome, producer_client::ProducerClient,
};
use outrigger_sdk::Durability as Level;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Streaming, transport::Channel};
use uuid::Uuid;

use crate::harness::{Bench, eventually, read_all, stored_count};

async fn channel(bench: &Bench) -> Channel {
    let endpoint = Channel::from_shared(bench.sidecar.uri()).expect("a URI");
    endpoint.connect().await.expect("connected")
}

fn message(topic: &str, body: impl Into<bytes::Bytes>) -> Message {
    Message {
        topic: topic.into(),
        body: body.into(),
        ..Default::default()
    }
}

/// A Publish stream, one operation at a time.
struct Stream {
    requests: mpsc::Sender<PublishRequest>,
    answers: Streaming<v1::PublishResponse>,
    identity: Option<ProducerIdentity>,
}

impl Stream {
    async fn open(channel: &Channel, producer: Option<Uuid>) -> Self {
        let (requests, outbound) = mpsc::channel(4);
        let outbound = ReceiverStream::new(outbound);
        let answers = ProducerClient::new(channel.clone())
            .publish(outbound)
            .await
            .expect("a stream")
            .into_inner();
        let identity = producer.map(|id| ProducerIdentity {
            producer_id: id.to_string(),
            epoch: 0,
        });
        Self {
            requests,
            answers,
            identity,
        }
    }

    async fn call(&mut self, first_sequence: u64, kind: Kind, durability: i32) -> outcome::Kind {
        let operation = Operation {
            kind: Some(kind),
            durability,
        };
        let request = PublishRequest {
            producer: self.identity.clone(),
            first_sequence,
            operations: vec![operation],
            ..Default::default()
        };
        self.requests
            .send(request)
            .await
            .expect("the stream is open");
        let answer = self.answers.message().await.expect("an answer");
        let outcome = answer.expect("one more").outcomes.pop();
        outcome
            .and_then(|outcome| outcome.kind)
            .expect("an outcome")
    }

    async fn send(&mut self, sequence: u64, body: String, level: Durability) -> outcome::Kind {
        let kind = Kind::Send(message("orders", body));
        self.call(sequence, kind, level.into()).await
    }
}

fn reached(outcome: outcome::Kind) -> Durability {
    match outcome {
        outcome::Kind::Sent(receipt) => receipt.durability(),
        other => panic!("{other:?}"),
    }
}

fn reason(outcome: outcome::Kind) -> Option<String> {
    match outcome {
        outcome::Kind::Error(error) => Some(error.reason),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_result_says_which_level_was_reached() {
    let bench = Bench::start();
    let client = bench.client().await;
    let producer = client.producer("p");
    let send = async |body: &'static str, level| {
        let message = outrigger_sdk::Message::new("orders", body).durability(level);
        producer.send(message).await.expect("taken")
    };
    // The first one of a connection shows that its number is the next one.
    let first = send("first", Level::Accepted).await;
    assert_eq!((first.durability, first.offset), (Level::Synced, 0));
    for (body, level) in [
        ("accepted", Level::Accepted),
        ("replicated", Level::Replicated),
    ] {
        let receipt = send(body, level).await;
        assert_eq!(
            (receipt.durability, receipt.queue, receipt.offset),
            (level, 0, 0)
        );
    }
    let last = send("synced", Level::Synced).await;
    assert_eq!(last.durability, Level::Synced);
    let stored = read_all(&client, "orders").await;
    let once = ["accepted", "first", "replicated", "synced"];
    assert_eq!(stored, once.map(|body| (body.to_owned(), 1)).into());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_has_a_level_and_a_send_may_choose_another_one() {
    let mut bench = Bench::start_with_config("default_durability = \"replicated\"\n");
    let channel_before = channel(&bench).await;
    let mut admin = AdminClient::new(channel_before.clone());
    let producer = ProducerClient::new(channel_before);
    let send = async |topic: &str, durability: Durability| {
        let request = SendRequest {
            message: Some(message(topic, "b")),
            durability: durability.into(),
        };
        let answer = producer.clone().send(request).await.expect("taken");
        let receipt: SendReceipt = answer.into_inner().receipt.expect("a receipt");
        receipt.durability()
    };
    let created = admin
        .create_topic(CreateTopicRequest {
            topic: "metrics".into(),
            queues: 1,
            durability: Durability::Accepted.into(),
        })
        .await
        .expect("created");
    assert_eq!(created.into_inner().durability(), Durability::Accepted);

    let unspecified = Durability::Unspecified;
    assert_eq!(send("metrics", unspecified).await, Durability::Accepted);
    assert_eq!(
        send("metrics", Durability::Synced).await,
        Durability::Synced
    );
    assert_eq!(
        send("made-by-itself", unspecified).await,
        Durability::Replicated
    );
    let accepted = send("made-by-itself", Durability::Accepted).await;
    assert_eq!(accepted, Durability::Accepted);

    let update = |topic: &str, durability: i32| UpdateTopicRequest {
        topic: topic.into(),
        durability,
    };
    let changed = admin.update_topic(update("metrics", Durability::Synced.into()));
    let changed = changed.await.expect("changed").into_inner();
    assert_eq!(changed.durability(), Durability::Synced);
    assert_eq!(send("metrics", unspecified).await, Durability::Synced);
    let unknown = admin.update_topic(update("nobody", Durability::Synced.into()));
    assert_eq!(unknown.await.expect_err("unknown").code(), Code::NotFound);
    let illegal = admin.update_topic(update("metrics", 9)).await;
    assert_eq!(illegal.expect_err("illegal").code(), Code::InvalidArgument);

    bench.sidecar.kill().expect("killed");
    bench.sidecar.restart().expect("it starts again");
    let mut admin = AdminClient::new(channel(&bench).await);
    let level = async |topic: &str| {
        let request = DescribeTopicRequest {
            topic: topic.into(),
        };
        let described = admin.describe_topic(request).await.expect("it is there");
        described.into_inner().durability()
    };
    let mut level = level;
    assert_eq!(level("metrics").await, Durability::Synced);
    assert_eq!(level("made-by-itself").await, Durability::Replicated);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_messages_and_their_verdicts_are_always_synced() {
    let bench = Bench::start_with_config("default_durability = \"accepted\"\n");
    let channel = channel(&bench).await;
    let mut stream = Stream::open(&channel, None).await;
    let id = Uuid::now_v7().to_string();
    let prepare = Kind::Prepare(PrepareRequest {
        transaction_id: id.clone(),
        producer_group: "p".into(),
        messages: vec![message("orders", "b")],
    });
    let resolve = Kind::Resolve(ResolveRequest {
        transaction_id: id,
        verdict: Verdict::Commit.into(),
        payload: None,
    });
    for kind in [prepare, resolve] {
        for level in [Durability::Replicated, Durability::Accepted] {
            let outcome::Kind::Error(error) = stream.call(0, kind.clone(), level.into()).await
            else {
                panic!("{kind:?} was taken with {level:?}");
            };
            assert_eq!(error.code, Code::InvalidArgument as u32);
            assert_eq!(error.reason, "ILLEGAL_DURABILITY");
            assert_eq!(error.metadata["field"], "durability");
            assert!(error.metadata["limit"].contains("DURABILITY_SYNCED"));
        }
        for level in [Durability::Synced, Durability::Unspecified] {
            let outcome = stream.call(0, kind.clone(), level.into()).await;
            assert!(!matches!(outcome, outcome::Kind::Error(_)), "{outcome:?}");
        }
    }
    let nonsense = stream.call(0, Kind::Send(message("orders", "b")), 9).await;
    assert_eq!(reason(nonsense).as_deref(), Some("ILLEGAL_DURABILITY"));

    let client = bench.client().await;
    let half = outrigger_sdk::Message::new("orders", "b").durability(Level::Replicated);
    let refused = client.producer("p").transaction().message(half).prepare();
    let refused = refused.await.expect_err("refused");
    assert_eq!(refused.reason(), Some("ILLEGAL_DURABILITY"));
}

/// Otherwise a producer that lost one send would lose all that follow without hearing of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_producer_whose_numbers_are_not_the_next_ones_is_told_so_whatever_it_asks_for() {
    let bench = Bench::start();
    let channel = channel(&bench).await;
    for level in [Durability::Accepted, Durability::Replicated] {
        let mut stream = Stream::open(&channel, Some(Uuid::now_v7())).await;
        let gap = stream.send(7, "gap".to_owned(), level).await;
        assert_eq!(reason(gap).as_deref(), Some("SEQUENCE_GAP"));
        let first = stream.send(1, "one".to_owned(), level).await;
        assert_eq!(reached(first), Durability::Synced);
        let second = stream.send(2, "two".to_owned(), level).await;
        assert_eq!(reached(second), level);
        // The log refuses it when it has been answered. Soon the producer hears of it.
        let third = stream.send(4, "four".to_owned(), level).await;
        assert_eq!(reached(third), level);
        let mut next = 4;
        eventually("the gap is told", async || {
            next += 1;
            let outcome = stream.send(next, "lost".to_owned(), level).await;
            reason(outcome).as_deref() == Some("SEQUENCE_GAP")
        })
        .await;
        // From the missing number on it goes well again.
        let third = stream.send(3, "three".to_owned(), level).await;
        assert_eq!(reached(third), Durability::Synced);
        let fourth = stream.send(4, "four".to_owned(), level).await;
        assert_eq!(reached(fourth), level);
    }
    let client = bench.client().await;
    eventually("all sends are applied", async || {
        stored_count(&client, "orders").await == 8
    })
    .await;
    let stored = read_all(&client, "orders").await;
    let twice = ["one", "two", "three", "four"].map(|body| (body.to_owned(), 2));
    assert_eq!(stored, BTreeMap::from(twice));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repetition_of_what_was_answered_early_is_stored_once() {
    let bench = Bench::start();
    let channel = channel(&bench).await;
    let producer = Uuid::now_v7();
    for _ in 0..3 {
        let mut stream = Stream::open(&channel, Some(producer)).await;
        for sequence in 1..=5 {
            let body = sequence.to_string();
            let outcome = stream.send(sequence, body, Durability::Accepted).await;
            assert!(matches!(outcome, outcome::Kind::Sent(_)), "{outcome:?}");
        }
    }
    let client = bench.client().await;
    let mut last = Stream::open(&channel, Some(producer)).await;
    let synced = last.send(6, "6".to_owned(), Durability::Synced).await;
    assert_eq!(reached(synced), Durability::Synced);
    let stored = read_all(&client, "orders").await;
    let once = (1..=6).map(|body| (body.to_string(), 1));
    assert_eq!(stored, once.collect());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_producer_goes_on_after_accepted_sends_were_lost_in_a_crash() {
    let mut bench = Bench::start();
    let client = bench.client().await;
    let producer = client.producer("p").durability(Level::Accepted);
    let send_all = async |name: &str| {
        let messages =
            (0..200).map(|n| outrigger_sdk::Message::new("orders", format!("{name}-{n:03}")));
        for receipt in producer.send_all(messages).await {
            receipt.expect("taken");
        }
    };
    for round in 0..3 {
        send_all(&format!("before-{round}")).await;
        bench.sidecar.kill().expect("killed");
        bench.sidecar.restart().expect("it starts again");
    }
    send_all("after").await;
    let last = outrigger_sdk::Message::new("orders", "last").durability(Level::Synced);
    producer.send(last).await.expect("synced");
    let stored = read_all(&client, "orders").await;
    assert!(stored.values().all(|times| *times == 1), "{stored:?}");
    let after = stored
        .keys()
        .filter(|body| body.starts_with("after"))
        .count();
    assert_eq!(after, 200);
}
