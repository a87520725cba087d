use std::time::Duration;

use outrigger_proto::v1::{self, operation::Kind, outcome, producer_client::ProducerClient};
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use uuid::Uuid;

use super::{Cluster, LONG, reason};
use crate::route::Options;

fn send(topic: &str, body: &str) -> v1::Operation {
    let message = v1::Message {
        topic: topic.to_owned(),
        body: body.to_owned().into(),
        ..Default::default()
    };
    v1::Operation {
        kind: Some(Kind::Send(message)),
        ..Default::default()
    }
}

fn prepare(id: Uuid, topic: &str) -> v1::Operation {
    let message = v1::Message {
        topic: topic.to_owned(),
        body: id.to_string().into(),
        ..Default::default()
    };
    v1::Operation {
        kind: Some(Kind::Prepare(v1::PrepareRequest {
            transaction_id: id.to_string(),
            producer_group: "shop".to_owned(),
            messages: vec![message],
        })),
        ..Default::default()
    }
}

fn commit(id: Uuid) -> v1::Operation {
    v1::Operation {
        kind: Some(Kind::Resolve(v1::ResolveRequest {
            transaction_id: id.to_string(),
            verdict: v1::Verdict::Commit.into(),
            payload: None,
        })),
        ..Default::default()
    }
}

/// A stream whose requests a test writes itself.
struct Stream {
    requests: mpsc::Sender<v1::PublishRequest>,
    answers: tonic::Streaming<v1::PublishResponse>,
}

impl Stream {
    async fn open(cluster: &Cluster) -> Self {
        let (requests, body) = mpsc::channel(64);
        let mut client = ProducerClient::new(cluster.channel());
        let answers = client.publish(ReceiverStream::new(body)).await.unwrap();
        Self {
            requests,
            answers: answers.into_inner(),
        }
    }

    async fn ask(&mut self, request: v1::PublishRequest) {
        self.requests.send(request).await.unwrap();
    }

    /// What became of each operation of the oldest request: its number of outcome, or reason.
    async fn answer(&mut self) -> Result<Vec<String>, tonic::Status> {
        let answer = timeout(LONG, self.answers.message()).await.unwrap()?;
        let outcomes = answer.expect("an answer").outcomes.into_iter();
        let outcome = |outcome: v1::Outcome| match outcome.kind.unwrap() {
            outcome::Kind::Sent(receipt) if receipt.duplicate => "duplicate".to_owned(),
            outcome::Kind::Sent(receipt) => format!("sent {}", receipt.offset),
            outcome::Kind::Prepared(_) => "prepared".to_owned(),
            outcome::Kind::Resolved(_) => "resolved".to_owned(),
            outcome::Kind::Error(error) => error.reason,
        };
        Ok(outcomes.map(outcome).collect())
    }
}

fn producer(epoch: u32) -> Option<v1::ProducerIdentity> {
    Some(v1::ProducerIdentity {
        producer_id: Uuid::from_u128(7).to_string(),
        epoch,
    })
}

fn request(first_sequence: u64, operations: Vec<v1::Operation>) -> v1::PublishRequest {
    v1::PublishRequest {
        first_sequence,
        operations,
        ..Default::default()
    }
}

#[tokio::test]
async fn outcomes_come_in_the_order_of_operations_wherever_these_go() {
    let cluster = Cluster::start(3).await;
    let topics = cluster.topics(1).concat();
    let (a, b, c) = (&*topics[0], &*topics[1], &*topics[2]);
    let [one, two] = [Uuid::from_u128(1), Uuid::from_u128(4)];
    let homes = [one, two].map(|id| cluster.placement.transaction(id.as_u128()));
    assert_ne!(homes[0], homes[1]);
    let mut stream = Stream::open(&cluster).await;
    let mixed = vec![
        send(a, "1"),
        prepare(one, a),
        send(b, "2"),
        send("no topic!", "3"),
        commit(two),
        send(c, "4"),
        commit(one),
        send(b, "5"),
        v1::Operation::default(),
    ];
    stream
        .ask(v1::PublishRequest {
            producer: producer(1),
            ..request(1, mixed)
        })
        .await;
    stream.ask(request(6, Vec::new())).await;
    stream
        .ask(request(6, vec![send(a, "6"), send(a, "7")]))
        .await;
    stream
        .ask(request(8, vec![send(a, "8"), send(b, "9")]))
        .await;
    assert_eq!(
        stream.answer().await.unwrap(),
        [
            "sent 0",
            "prepared",
            "sent 0",
            "ILLEGAL_NAME",
            "TRANSACTION_NOT_FOUND",
            "sent 0",
            "resolved",
            "sent 1",
            "NO_OPERATION",
        ]
    );
    assert_eq!(stream.answer().await.unwrap(), [""; 0]);
    assert_eq!(stream.answer().await.unwrap().len(), 2);
    assert_eq!(stream.answer().await.unwrap()[1], "sent 2");
    for (group, home) in cluster.groups.iter().zip(0..) {
        let id = outrigger_log::TransactionId(one.as_u128());
        let found = group.log.transaction(id).unwrap();
        assert_eq!(
            found.is_some(),
            home == homes[0],
            "a transaction is at its home"
        );
    }
}

/// What was refused stays refused when it is repeated, and what was stored is stored once,
/// on another stream and in a new epoch as well.
#[tokio::test]
async fn numbers_count_in_each_data_group_from_stream_to_stream() {
    let cluster = Cluster::start(2).await;
    let topics = cluster.topics(1).concat();
    let (a, b) = (&*topics[0], &*topics[1]);
    let batch = |epoch| v1::PublishRequest {
        producer: producer(epoch),
        ..request(
            1,
            vec![
                send(a, "1"),
                send("no topic!", "2"),
                send(b, "3"),
                send(a, "4"),
            ],
        )
    };
    let mut first = Stream::open(&cluster).await;
    first.ask(batch(1)).await;
    let stored = ["sent 0", "ILLEGAL_NAME", "sent 0", "sent 1"];
    assert_eq!(first.answer().await.unwrap(), stored);
    // Of a client that has seen the answer to the first three.
    let mut second = Stream::open(&cluster).await;
    let later = vec![send(a, "4"), send(b, "5"), send(a, "6")];
    second
        .ask(v1::PublishRequest {
            producer: producer(1),
            ..request(4, later)
        })
        .await;
    let once = ["duplicate", "sent 1", "sent 2"];
    assert_eq!(second.answer().await.unwrap(), once);
    // Of a client that has seen nothing.
    let mut third = Stream::open(&cluster).await;
    third.ask(batch(1)).await;
    let repeated = ["duplicate", "ILLEGAL_NAME", "duplicate", "duplicate"];
    assert_eq!(third.answer().await.unwrap(), repeated);
    // A number that is missing is missed, on a stream that goes on.
    third
        .ask(request(9, vec![send(a, "9"), send(b, "10")]))
        .await;
    let gap = ["SEQUENCE_GAP", "SEQUENCE_GAP"];
    assert_eq!(third.answer().await.unwrap(), gap);
    third.ask(batch(2)).await;
    let anew = ["sent 3", "ILLEGAL_NAME", "sent 2", "sent 4"];
    assert_eq!(third.answer().await.unwrap(), anew);
}

#[tokio::test]
async fn a_stream_that_is_closed_answers_what_it_has_taken() {
    let cluster = Cluster::start(2).await;
    let topics = cluster.topics(1).concat();
    let mut stream = Stream::open(&cluster).await;
    let both = vec![send(&topics[0], "1"), send(&topics[1], "2")];
    stream.ask(request(0, both.clone())).await;
    assert_eq!(stream.answer().await.unwrap().len(), 2);
    cluster.router.close();
    let ended = stream.answer().await.unwrap_err();
    assert_eq!(ended.code(), Code::Unavailable);
    assert_eq!(reason(&ended), "SHUTTING_DOWN");
}

/// A slow data group slows the stream down instead of filling the memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_is_read_no_faster_than_its_slowest_data_group_answers() {
    const ROOM_BYTES: usize = 64 << 10;
    let options = Options {
        publish_bytes_max: ROOM_BYTES,
        ..Options::default()
    };
    let cluster = Cluster::with(2, options).await;
    let topics = cluster.topics(1).concat();
    let slow = &cluster.groups[1].way.holds;
    slow.send_replace(true);
    let mut stream = Stream::open(&cluster).await;
    let body = "x".repeat(16 << 10);
    stream.ask(request(0, vec![send(&topics[1], "slow")])).await;
    for _ in 0..12 {
        stream.ask(request(0, vec![send(&topics[0], &body)])).await;
    }
    sleep(Duration::from_millis(100)).await;
    let early = cluster.groups[0].stored().len();
    assert!(early <= ROOM_BYTES / body.len(), "{early} were taken");
    slow.send_replace(false);
    for _ in 0..13 {
        assert_eq!(stream.answer().await.unwrap().len(), 1);
    }
    assert_eq!(cluster.groups[0].stored().len(), 12);
}
