//! Consumers over real gRPC, with a real log in a temporary directory.

mod harness;
pub(crate) mod unread;

use std::{collections::BTreeSet, sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use outrigger_log::{Command, ConsumerGroupConfig, StartFrom};
use outrigger_proto::{stored::consumer_server::ConsumerServer, v1};
use tokio::time::{sleep, timeout};
use tonic::{Code, service::Routes};

use self::{
    harness::{SOON, names, options, reason, receive, start, subscribe},
    unread::Unread,
};
use super::Options;

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_delivered_once_acked_durably_and_never_again() {
    let mut sidecar = start(options()).await;
    sidecar.send("orders", &[("a", "", 0), ("b", "", 0)]).await;
    // What is there comes even to a call that does not wait.
    let got = sidecar.receive("stock", "orders", 0).await;
    assert_eq!(names(&got), ["a", "b"]);
    assert_eq!((got[1].offset, got[1].attempt), (1, 1));
    assert!(got[0].stored_at_ms > 0 && got[0].lease_deadline_ms > got[0].stored_at_ms);
    assert!(sidecar.receive("stock", "orders", 0).await.is_empty());
    // Another group has its own progress.
    assert_eq!(
        names(&sidecar.receive("points", "orders", 1_000).await),
        ["a", "b"]
    );

    let receipts: Vec<Bytes> = got.into_iter().map(|delivery| delivery.receipt).collect();
    assert_eq!(sidecar.ack("stock", receipts.clone()).await, []);
    assert_eq!(sidecar.floor("stock", "orders"), 2);
    assert_eq!(sidecar.floor("points", "orders"), 0);
    // A repeated ack is fine.
    assert_eq!(sidecar.ack("stock", receipts).await, []);

    // After the worker has idled away, everything goes on from what is recorded.
    sleep(Duration::from_millis(300)).await;
    sidecar.send("orders", &[("c", "", 0)]).await;
    assert_eq!(
        names(&sidecar.receive("stock", "orders", 1_000).await),
        ["c"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_delivered_while_another_node_may_lead() {
    let mut sidecar = start(options()).await;
    sidecar.topic("orders").await;
    let subscribed = subscribe("stock", "orders", "", 10);
    let mut stream = sidecar.consume(subscribed).await.unwrap();
    sidecar.cut_off.store(true, Ordering::SeqCst);
    sidecar.send("orders", &[("a", "", 0)]).await;
    let waiting = Duration::from_millis(300);
    let early = timeout(waiting, stream.responses.message()).await;
    assert!(early.is_err(), "{early:?}");
    assert!(sidecar.receive("points", "orders", 100).await.is_empty());

    // It turns out that this node leads after all.
    sidecar.cut_off.store(false, Ordering::SeqCst);
    let delivery = timeout(SOON, stream.delivery()).await.unwrap();
    assert_eq!(names(&[delivery]), ["a"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_poll_is_woken_by_a_message_and_by_a_drain() {
    let mut sidecar = start(options()).await;
    sidecar.topic("orders").await;
    let mut waiting = sidecar.client.clone();
    let request = v1::ReceiveRequest {
        wait_ms: 60_000,
        ..receive("stock", "orders", "")
    };
    let poll = tokio::spawn(async move { waiting.receive(request).await });
    sleep(Duration::from_millis(100)).await;
    sidecar.send("orders", &[("a", "", 0)]).await;
    let got = timeout(SOON, poll)
        .await
        .unwrap()
        .unwrap()
        .unwrap()
        .into_inner();
    assert_eq!(names(&got.deliveries), ["a"]);

    let mut waiting = sidecar.client.clone();
    let request = v1::ReceiveRequest {
        wait_ms: 60_000,
        ..receive("points", "empty", "")
    };
    let poll = tokio::spawn(async move { waiting.receive(request).await });
    let mut stream = sidecar
        .consume(subscribe("points", "orders", "", 10))
        .await
        .unwrap();
    let delivery = stream.delivery().await;
    sidecar.service.drain(super::shutting_down());
    assert!(timeout(SOON, poll).await.unwrap().unwrap().is_ok());
    // What is acked during the drain is recorded and answered.
    let ack = v1::ConsumeRequest {
        request_id: 7,
        acks: vec![delivery.receipt],
        ..Default::default()
    };
    stream.requests.send(ack).await.unwrap();
    assert_eq!(stream.result().await.request_id, 7);
    drop(stream.requests);
    let end = timeout(SOON, stream.responses.message())
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(reason(&end), "SHUTTING_DOWN");
    assert_eq!(sidecar.floor("points", "orders"), 1);
}

/// One that settles and settles must not fill the memory with what it does not read.
#[tokio::test]
async fn nothing_more_is_taken_of_a_consumer_that_does_not_read_its_results() {
    const REQUESTS: u64 = 2_000;
    let options = Options {
        requests_waiting_max: 4,
        frames_waiting_max: 2,
        ..options()
    };
    let sidecar = start(options).await;
    let routes = Routes::new(ConsumerServer::new(sidecar.service.clone()));
    let first = subscribe("stock", "orders", "", 1);
    let stream = Unread::open(routes, first, REQUESTS).await;
    let taken = stream.taken().await;
    // Two responses lie there, each with four results at most, one more waits for its place, and
    // the request after that for its turn.
    assert!((4..=3 * 4 + 1).contains(&taken), "{taken} were taken");
    let results = timeout(SOON, stream.read()).await.unwrap();
    assert!(results.into_iter().eq(1..=REQUESTS));
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_expire_are_passed_over() {
    let mut sidecar = start(options()).await;
    for name in ["a", "b", "c", "d"] {
        sidecar.send("orders", &[(name, "", 0)]).await;
    }
    let held = sidecar.receive("stock", "orders", 5_000).await;
    assert_eq!(names(&held), ["a", "b", "c", "d"]);
    let topic = sidecar.topic("orders").await;
    let mut entries = Vec::new();
    sidecar.log.index(topic, 0, 0, 9, &mut entries).unwrap();
    let expire = Command::Expire {
        upto: entries[2].place.index,
    };
    sidecar.log.submit(vec![expire]).unwrap().await.unwrap();
    assert_eq!(sidecar.log.queue_bounds(topic, 0), (3, 4));
    // Who comes new begins with what is left, and who was there goes on.
    let left = sidecar.receive("points", "orders", 5_000).await;
    assert_eq!(names(&left), ["d"]);
    sidecar.send("orders", &[("e", "", 0)]).await;
    let next = sidecar.receive("stock", "orders", 5_000).await;
    assert_eq!(names(&next), ["e"]);
    let receipts = held.into_iter().chain(next).map(|one| one.receipt);
    let receipts: Vec<_> = receipts.skip(3).collect();
    assert_eq!(sidecar.ack("stock", receipts).await, []);
    assert_eq!(sidecar.floor("stock", "orders"), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_fails_too_often_becomes_a_dead_letter() {
    let mut sidecar = start(options()).await;
    sidecar.send("orders", &[("poison", "", 0)]).await;
    for attempt in 1..=2 {
        let mut got = sidecar.receive("stock", "orders", 5_000).await;
        assert_eq!(got[0].attempt, attempt);
        assert_eq!(sidecar.nack("stock", got.remove(0).receipt).await, []);
    }
    assert_eq!(sidecar.floor("stock", "orders"), 1);
    assert!(sidecar.receive("stock", "orders", 50).await.is_empty());
    let dead = sidecar.receive("operator", "%DLQ%stock", 1_000).await;
    assert_eq!(names(&dead), ["poison"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_group_goes_one_by_one_while_others_pass() {
    let mut sidecar = start(options()).await;
    let messages = [("a1", "", 7), ("a2", "", 7), ("b1", "", 8), ("free", "", 0)];
    sidecar.send("orders", &messages).await;
    let mut stream = sidecar
        .consume(subscribe("stock", "orders", "", 10))
        .await
        .unwrap();
    let mut first = Vec::new();
    for _ in 0..3 {
        first.push(stream.delivery().await);
    }
    assert_eq!(names(&first), ["a1", "b1", "free"]);
    let ack = v1::ConsumeRequest {
        request_id: 1,
        acks: vec![first[0].receipt.clone()],
        ..Default::default()
    };
    stream.requests.send(ack).await.unwrap();
    assert_eq!(names(&[stream.delivery().await]), ["a2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn credits_bound_what_is_delivered_and_streams_share_the_work() {
    let mut sidecar = start(options()).await;
    let mut one = sidecar
        .consume(subscribe("stock", "orders", "", 2))
        .await
        .unwrap();
    let mut two = sidecar
        .consume(subscribe("stock", "orders", "", 1))
        .await
        .unwrap();
    let messages: Vec<(&str, &str, u64)> = vec![("m", "", 0); 6];
    sidecar.send("orders", &messages).await;
    let mut offsets = BTreeSet::new();
    offsets.insert(one.delivery().await.offset);
    offsets.insert(one.delivery().await.offset);
    offsets.insert(two.delivery().await.offset);
    let more = timeout(Duration::from_millis(200), one.delivery()).await;
    assert!(more.is_err(), "more than it had credits for");
    let credits = v1::ConsumeRequest {
        credits: 2,
        ..Default::default()
    };
    two.requests.send(credits).await.unwrap();
    offsets.insert(two.delivery().await.offset);
    offsets.insert(two.delivery().await.offset);
    let more = timeout(Duration::from_millis(200), two.delivery()).await;
    assert!(more.is_err(), "more than it was given credits for");
    assert_eq!(offsets.len(), 5, "each message went to one of them");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_runs_out_goes_to_somebody_else_and_its_receipt_is_stale() {
    let mut sidecar = start(options()).await;
    sidecar.send("orders", &[("a", "", 0)]).await;
    let mut stream = sidecar
        .consume(subscribe("stock", "orders", "", 1))
        .await
        .unwrap();
    let lost = stream.delivery().await;
    drop(stream);
    let again = sidecar.receive("stock", "orders", 10_000).await;
    assert_eq!(again[0].attempt, 2);
    let errors = sidecar.ack("stock", vec![lost.receipt.clone()]).await;
    assert_eq!(errors[0].receipt, lost.receipt);
    let error = errors[0].error.as_ref().unwrap();
    assert_eq!(error.reason, "STALE_RECEIPT");
    assert_eq!(error.code, Code::FailedPrecondition as u32);
    assert_eq!(
        sidecar.ack("stock", vec![again[0].receipt.clone()]).await,
        []
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_pass_tags_and_must_agree_within_a_group() {
    let mut sidecar = start(options()).await;
    let messages = [
        ("1", "created", 0),
        ("2", "paid", 0),
        ("3", "", 0),
        ("4", "refused", 0),
    ];
    sidecar.send("orders", &messages).await;
    let filter = "paid || refused";
    let mut stream = sidecar
        .consume(subscribe("stock", "orders", filter, 9))
        .await
        .unwrap();
    let got = [stream.delivery().await, stream.delivery().await];
    assert_eq!(names(&got), ["2", "4"]);

    let other = sidecar
        .consume(subscribe("stock", "orders", "paid", 9))
        .await;
    let conflict = other.err().unwrap();
    assert_eq!(conflict.code(), Code::FailedPrecondition);
    assert_eq!(reason(&conflict), "SUBSCRIPTION_CONFLICT");
    // The same tags in another order are the same filter.
    let same = sidecar
        .consume(subscribe("stock", "orders", "refused||paid", 0))
        .await;
    assert!(same.is_ok());

    let acks = got.into_iter().map(|delivery| delivery.receipt).collect();
    let ack = v1::ConsumeRequest {
        request_id: 1,
        acks,
        ..Default::default()
    };
    stream.requests.send(ack).await.unwrap();
    assert_eq!(stream.result().await.errors, []);
    assert_eq!(
        sidecar.floor("stock", "orders"),
        4,
        "what is filtered out is done"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ack_that_could_not_be_recorded_says_so_and_may_be_repeated() {
    let mut sidecar = start(options()).await;
    sidecar.send("orders", &[("a", "", 0)]).await;
    let got = sidecar.receive("stock", "orders", 1_000).await;
    sidecar.overloaded.store(true, Ordering::SeqCst);
    let receipt = got[0].receipt.clone();
    let errors = sidecar.ack("stock", vec![receipt.clone()]).await;
    assert_eq!(errors[0].error.as_ref().unwrap().reason, "LOG_OVERLOADED");
    assert_eq!(sidecar.floor("stock", "orders"), 0);
    sidecar.overloaded.store(false, Ordering::SeqCst);
    assert_eq!(sidecar.ack("stock", vec![receipt]).await, []);
    assert_eq!(sidecar.floor("stock", "orders"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_requests_are_refused_by_name() {
    let mut sidecar = start(Options {
        auto_create: false,
        ..options()
    })
    .await;
    let config = ConsumerGroupConfig {
        start_from: StartFrom::First,
        max_attempts: 2,
        retry_delays_ms: vec![0],
    };
    let name = "stock".to_owned();
    let create = Command::CreateConsumerGroup { name, config };
    let name = "orders".to_owned();
    let topic = Command::CreateTopic {
        name,
        queues: 1,
        durability: Default::default(),
    };
    sidecar
        .log
        .submit(vec![create, topic])
        .unwrap()
        .await
        .unwrap();

    let no_subscriptions = v1::ReceiveRequest {
        subscriptions: Vec::new(),
        ..receive("stock", "orders", "")
    };
    let long_lease = v1::ReceiveRequest {
        invisible_ms: u64::MAX,
        ..receive("stock", "orders", "")
    };
    let long_wait = v1::ReceiveRequest {
        wait_ms: 60_001,
        ..receive("stock", "orders", "")
    };
    let many = v1::ReceiveRequest {
        max_messages: 4_097,
        ..receive("stock", "orders", "")
    };
    for (request, code, expected) in [
        (
            receive("", "orders", ""),
            Code::InvalidArgument,
            "ILLEGAL_NAME",
        ),
        (
            receive("stock", "or/ders", ""),
            Code::InvalidArgument,
            "ILLEGAL_NAME",
        ),
        (
            receive("stock", "orders", "a |"),
            Code::InvalidArgument,
            "ILLEGAL_FILTER",
        ),
        (
            receive("stock", "nope", ""),
            Code::NotFound,
            "TOPIC_NOT_FOUND",
        ),
        (
            receive("nobody", "orders", ""),
            Code::NotFound,
            "CONSUMER_GROUP_NOT_FOUND",
        ),
        (
            no_subscriptions,
            Code::InvalidArgument,
            "ILLEGAL_SUBSCRIPTIONS",
        ),
        (long_lease, Code::InvalidArgument, "OUT_OF_BOUNDS"),
        (long_wait, Code::InvalidArgument, "OUT_OF_BOUNDS"),
        (many, Code::InvalidArgument, "OUT_OF_BOUNDS"),
    ] {
        let status = sidecar.client.receive(request).await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (code, expected));
    }
    let no_subscribe = sidecar.consume(v1::ConsumeRequest::default()).await;
    assert_eq!(reason(&no_subscribe.err().unwrap()), "SUBSCRIBE_MISSING");
    let greedy = sidecar
        .consume(subscribe("stock", "orders", "", 65_537))
        .await;
    assert_eq!(reason(&greedy.err().unwrap()), "TOO_MANY_CREDITS");

    let errors = sidecar.ack("stock", vec![Bytes::from("nonsense")]).await;
    let error = errors[0].error.as_ref().unwrap();
    assert_eq!(
        (error.reason.as_str(), errors[0].receipt.as_ref()),
        ("ILLEGAL_RECEIPT", &b"nonsense"[..])
    );
    let request = v1::AckRequest {
        consumer_group: "nobody".to_owned(),
        receipts: Vec::new(),
    };
    let status = sidecar.client.ack(request).await.unwrap_err();
    assert_eq!(reason(&status), "CONSUMER_GROUP_NOT_FOUND");
}
