use outrigger_proto::v1::{self, producer_client::ProducerClient};
use tonic::{Code, Status};

use super::{
    Forward, Options, Proxy, Target, impatient,
    node::{Behaviour, Node, Stored},
    reason,
};

async fn prepare(forward: &Forward, id: &str) -> Result<(), Status> {
    let mut client = ProducerClient::new(forward.clone());
    let request = v1::PrepareRequest {
        transaction_id: id.to_owned(),
        ..Default::default()
    };
    client.prepare(request).await.map(drop)
}

async fn send(forward: &Forward, topic: &str) -> Result<(), Status> {
    let mut client = ProducerClient::new(forward.clone());
    let message = v1::Message {
        topic: topic.to_owned(),
        ..Default::default()
    };
    let request = v1::SendRequest {
        message: Some(message),
        durability: 0,
    };
    client.send(request).await.map(drop)
}

/// A port that nobody listens on.
fn nowhere() -> Target {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    Target::At(listener.local_addr().expect("bound").to_string())
}

#[tokio::test]
async fn the_leader_s_answer_comes_back_as_it_is() {
    let stored = Stored::default();
    let leader = Node::start(&stored, Behaviour::Lead);
    let proxy = Proxy::to(leader.target());
    prepare(&proxy.forward, "one").await.expect("an answer");
    assert_eq!(stored.topics(), ["one"]);
    let status = prepare(&proxy.forward, "unknown")
        .await
        .expect_err("not found");
    assert_eq!(status.code(), Code::NotFound);
    assert_eq!(reason(&status), "TRANSACTION_NOT_FOUND");
    assert_eq!(status.message(), "no such thing");
}

#[tokio::test]
async fn without_a_leader_a_call_waits_and_then_says_so() {
    let stored = Stored::default();
    let leader = Node::start(&stored, Behaviour::Lead);
    let proxy = Proxy::with(Target::Nobody, impatient());
    let status = send(&proxy.forward, "a").await.expect_err("nobody leads");
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(reason(&status), "NO_LEADER");

    let proxy = Proxy::to(Target::Nobody);
    let (sent, ()) = tokio::join!(send(&proxy.forward, "b"), async { proxy.leads(&leader) });
    sent.expect("it was waited for");
    assert_eq!(stored.topics(), ["b"]);
}

#[tokio::test]
async fn what_was_surely_not_taken_is_always_repeated() {
    let stored = Stored::default();
    let former = Node::start(&stored, Behaviour::NotLeader);
    let leader = Node::start(&stored, Behaviour::Lead);
    let proxy = Proxy::to(former.target());
    let (sent, ()) = tokio::join!(send(&proxy.forward, "a"), async {
        former.was_asked(2).await;
        proxy.leads(&leader);
    });
    sent.expect("the next leader has it");

    let proxy = Proxy::to(nowhere());
    let (sent, ()) = tokio::join!(send(&proxy.forward, "b"), async { proxy.leads(&leader) });
    sent.expect("the next leader has it");
    assert_eq!(stored.topics(), ["a", "b"]);
}

#[tokio::test]
async fn what_may_have_been_taken_is_repeated_only_when_that_is_harmless() {
    let stored = Stored::default();
    let leader = Node::start(&stored, Behaviour::Lead);
    for behaviour in [Behaviour::OutcomeUnknown, Behaviour::StoreInSilence] {
        for dies in [false, true] {
            let mut former = Node::start(&stored, behaviour);
            let proxy = Proxy::to(former.target());
            let before = stored.topics().len();
            let (sent, ()) = tokio::join!(send(&proxy.forward, "sent"), async {
                former.was_asked(1).await;
                if dies {
                    former.kill();
                }
                proxy.leads(&leader);
            });
            let status = sent.expect_err("nobody knows");
            assert_eq!(reason(&status), "OUTCOME_UNKNOWN", "{behaviour:?}");
            assert_eq!(stored.topics().len(), before + 1, "{behaviour:?}");

            let mut former = Node::start(&stored, behaviour);
            proxy.leads(&former);
            let (prepared, ()) = tokio::join!(prepare(&proxy.forward, "prepared"), async {
                former.was_asked(1).await;
                if dies {
                    former.kill();
                }
                proxy.leads(&leader);
            });
            prepared.expect("repeated at the next leader");
        }
    }
}

#[tokio::test]
async fn a_leader_that_is_lost_for_good_leaves_the_outcome_open() {
    let stored = Stored::default();
    let mut leader = Node::start(&stored, Behaviour::StoreInSilence);
    let proxy = Proxy::with(leader.target(), impatient());
    let (prepared, ()) = tokio::join!(prepare(&proxy.forward, "one"), async {
        leader.was_asked(1).await;
        leader.kill();
    });
    let status = prepared.expect_err("there is no other leader");
    assert_eq!(reason(&status), "OUTCOME_UNKNOWN");
}

#[tokio::test]
async fn a_request_that_is_too_large_to_be_kept_is_passed_once() {
    let stored = Stored::default();
    let leader = Node::start(&stored, Behaviour::Lead);
    let options = Options {
        request_bytes_max: 16,
        ..Options::default()
    };
    let proxy = Proxy::with(leader.target(), options);
    let long = "x".repeat(100_000);
    prepare(&proxy.forward, &long).await.expect("an answer");
    assert_eq!(stored.topics(), [long.as_str()]);
    leader.behave(Behaviour::NotLeader);
    let status = prepare(&proxy.forward, &long).await.expect_err("no leader");
    assert_eq!(reason(&status), "NO_LEADER");
    assert_eq!(leader.asked(), 2);
}
