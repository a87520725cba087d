use outrigger_proto::v1::{self, operation::Kind, producer_client::ProducerClient};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::{
    Proxy, Target, impatient,
    node::{Behaviour, Node, Stored},
    reason,
};

/// An application with a Publish stream.
struct Application {
    requests: mpsc::Sender<v1::PublishRequest>,
    answers: Streaming<v1::PublishResponse>,
    sequence: u64,
}

impl Application {
    async fn open(proxy: &Proxy) -> Self {
        let (requests, outbound) = mpsc::channel(100);
        let mut client = ProducerClient::new(proxy.forward.clone());
        let answers = client.publish(ReceiverStream::new(outbound)).await;
        Self {
            requests,
            answers: answers.expect("a stream").into_inner(),
            sequence: 1,
        }
    }

    async fn identify(&self) {
        let request = v1::PublishRequest {
            producer: Some(v1::ProducerIdentity {
                producer_id: "me".to_owned(),
                epoch: 1,
            }),
            ..Default::default()
        };
        self.requests.send(request).await.expect("room");
    }

    async fn send(&mut self, topics: &[&str]) {
        let sends = topics.iter().map(|topic| {
            Kind::Send(v1::Message {
                topic: (*topic).to_owned(),
                ..Default::default()
            })
        });
        let count = topics.len() as u64;
        self.request(sends.collect()).await;
        self.sequence += count;
    }

    async fn resolve(&mut self, id: &str) {
        let resolve = v1::ResolveRequest {
            transaction_id: id.to_owned(),
            ..Default::default()
        };
        self.request(vec![Kind::Resolve(resolve)]).await;
    }

    async fn request(&self, kinds: Vec<Kind>) {
        let operations = kinds
            .into_iter()
            .map(|kind| v1::Operation {
                kind: Some(kind),
                ..Default::default()
            })
            .collect();
        let request = v1::PublishRequest {
            producer: None,
            first_sequence: self.sequence,
            operations,
            ..Default::default()
        };
        self.requests.send(request).await.expect("room");
    }

    /// How many outcomes the next answer has.
    async fn answer(&mut self) -> Result<usize, Status> {
        let answer = self.answers.message().await?;
        Ok(answer.expect("no end").outcomes.len())
    }
}

#[tokio::test]
async fn a_stream_is_answered_in_order_and_ends_with_the_application() {
    let stored = Stored::default();
    let leader = Node::start(&stored, Behaviour::Lead);
    let proxy = Proxy::to(leader.target());
    let mut application = Application::open(&proxy).await;
    application.send(&["a"]).await;
    application.send(&["b", "c"]).await;
    assert_eq!(application.answer().await.expect("an answer"), 1);
    assert_eq!(application.answer().await.expect("an answer"), 2);
    let Application {
        requests,
        mut answers,
        ..
    } = application;
    drop(requests);
    assert!(answers.message().await.expect("no error").is_none());
    assert_eq!(stored.topics(), ["a", "b", "c"]);
}

#[tokio::test]
async fn with_an_identity_nothing_is_lost_or_doubled_when_the_leader_dies() {
    let stored = Stored::default();
    let mut former = Node::start(&stored, Behaviour::Lead);
    let leader = Node::start(&stored, Behaviour::Lead);
    let proxy = Proxy::to(former.target());
    let mut application = Application::open(&proxy).await;
    application.identify().await;
    assert_eq!(application.answer().await.expect("an answer"), 0);
    application.send(&["a"]).await;
    assert_eq!(application.answer().await.expect("an answer"), 1);
    // Stored, and never answered; the one after it does not even arrive.
    former.behave(Behaviour::StoreInSilence);
    application.send(&["b", "c"]).await;
    application.send(&["d"]).await;
    former.was_asked(3).await;
    former.kill();
    proxy.leads(&leader);
    assert_eq!(application.answer().await.expect("an answer"), 2);
    application.send(&["e", "f", "g"]).await;
    assert_eq!(application.answer().await.expect("an answer"), 1);
    assert_eq!(application.answer().await.expect("an answer"), 3);
    assert_eq!(stored.topics(), ["a", "b", "c", "d", "e", "f", "g"]);
}

#[tokio::test]
async fn a_leader_that_stands_still_is_left_when_another_one_leads() {
    let stored = Stored::default();
    let former = Node::start(&stored, Behaviour::StoreInSilence);
    let leader = Node::start(&stored, Behaviour::Lead);
    let proxy = Proxy::to(former.target());
    let mut application = Application::open(&proxy).await;
    application.identify().await;
    application.send(&["a"]).await;
    former.was_asked(1).await;
    proxy.leads(&leader);
    assert_eq!(application.answer().await.expect("an answer"), 0);
    assert_eq!(application.answer().await.expect("an answer"), 1);
    assert_eq!(stored.topics(), ["a"]);
}

#[tokio::test]
async fn a_node_that_does_not_lead_is_asked_again_until_another_one_does() {
    let stored = Stored::default();
    let former = Node::start(&stored, Behaviour::NotLeader);
    let leader = Node::start(&stored, Behaviour::Lead);
    let proxy = Proxy::to(former.target());
    let mut application = Application::open(&proxy).await;
    application.identify().await;
    application.send(&["a"]).await;
    former.was_asked(2).await;
    proxy.leads(&leader);
    assert_eq!(application.answer().await.expect("an answer"), 0);
    assert_eq!(application.answer().await.expect("an answer"), 1);
    assert_eq!(stored.topics(), ["a"]);
}

#[tokio::test]
async fn sends_without_an_identity_are_not_repeated() {
    let stored = Stored::default();
    let mut former = Node::start(&stored, Behaviour::StoreInSilence);
    let leader = Node::start(&stored, Behaviour::Lead);
    let proxy = Proxy::to(former.target());
    let mut application = Application::open(&proxy).await;
    application.send(&["a"]).await;
    former.was_asked(1).await;
    former.kill();
    proxy.leads(&leader);
    let status = application.answer().await.expect_err("nobody knows");
    assert_eq!(reason(&status), "OUTCOME_UNKNOWN");
    assert_eq!(stored.topics(), ["a"]);
}

#[tokio::test]
async fn a_stream_without_an_identity_goes_on_when_nothing_is_at_stake() {
    let stored = Stored::default();
    let mut former = Node::start(&stored, Behaviour::Lead);
    let leader = Node::start(&stored, Behaviour::Lead);
    let proxy = Proxy::to(former.target());
    let mut application = Application::open(&proxy).await;
    application.send(&["a"]).await;
    assert_eq!(application.answer().await.expect("an answer"), 1);
    // A Resolve may be repeated by its id.
    former.behave(Behaviour::StoreInSilence);
    application.resolve("t").await;
    former.was_asked(2).await;
    former.kill();
    proxy.leads(&leader);
    assert_eq!(application.answer().await.expect("an answer"), 1);
    application.send(&["b"]).await;
    assert_eq!(application.answer().await.expect("an answer"), 1);
    assert_eq!(stored.topics(), ["a", "t", "t", "b"]);
}

#[tokio::test]
async fn without_a_leader_a_stream_says_whether_anything_may_have_been_stored() {
    let proxy = Proxy::with(Target::Nobody, impatient());
    let mut application = Application::open(&proxy).await;
    application.identify().await;
    application.send(&["a"]).await;
    let status = application.answer().await.expect_err("nobody leads");
    assert_eq!(reason(&status), "NO_LEADER");

    let stored = Stored::default();
    let mut leader = Node::start(&stored, Behaviour::StoreInSilence);
    let proxy = Proxy::with(leader.target(), impatient());
    let mut application = Application::open(&proxy).await;
    application.identify().await;
    leader.was_asked(1).await;
    leader.kill();
    let status = application.answer().await.expect_err("no other leader");
    assert_eq!(reason(&status), "OUTCOME_UNKNOWN");
}
