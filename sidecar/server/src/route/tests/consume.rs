use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use outrigger_core::placement::TopicHome;
use outrigger_proto::v1::{self, consumer_client::ConsumerClient, producer_client::ProducerClient};
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use super::{Cluster, LONG, reason};
use crate::{delivery::tests::unread::Unread, route::Options};

/// Sends `each` messages to each topic.
pub(super) async fn fill(cluster: &Cluster, topics: &[String], each: usize) {
    let mut producer = ProducerClient::new(cluster.channel());
    for topic in topics {
        for number in 0..each {
            let message = v1::Message {
                topic: topic.clone(),
                body: format!("{topic}/{number}").into(),
                ..Default::default()
            };
            let request = v1::SendRequest {
                message: Some(message),
                ..Default::default()
            };
            producer.send(request).await.unwrap();
        }
    }
}

fn subscribe(topics: &[String], credits: u32) -> v1::ConsumeRequest {
    let subscription = |topic: &String| v1::Subscription {
        topic: topic.clone(),
        filter: String::new(),
    };
    let subscribe = v1::Subscribe {
        consumer_group: "stock".to_owned(),
        subscriptions: topics.iter().map(subscription).collect(),
        ..Default::default()
    };
    v1::ConsumeRequest {
        subscribe: Some(subscribe),
        credits,
        ..Default::default()
    }
}

/// A stream whose requests a test writes itself.
struct Consumer {
    requests: mpsc::Sender<v1::ConsumeRequest>,
    responses: Streaming<v1::ConsumeResponse>,
    deliveries: Vec<v1::Delivery>,
    results: Vec<v1::ConsumeResult>,
}

impl Consumer {
    async fn open(cluster: &Cluster, topics: &[String], credits: u32) -> Self {
        let (requests, body) = mpsc::channel(64);
        requests.send(subscribe(topics, credits)).await.unwrap();
        let mut client = ConsumerClient::new(cluster.channel());
        let responses = client.consume(ReceiverStream::new(body)).await.unwrap();
        Self {
            requests,
            responses: responses.into_inner(),
            deliveries: Vec::new(),
            results: Vec::new(),
        }
    }

    async fn say(&self, request: v1::ConsumeRequest) {
        self.requests.send(request).await.unwrap();
    }

    async fn want(&self, credits: u32) {
        self.say(v1::ConsumeRequest {
            credits,
            ..Default::default()
        })
        .await;
    }

    async fn ack(&self, request_id: u64, acks: Vec<Bytes>) {
        self.say(v1::ConsumeRequest {
            request_id,
            acks,
            ..Default::default()
        })
        .await;
    }

    /// Takes what comes next.
    async fn next(&mut self) -> Result<(), Status> {
        let response = timeout(LONG, self.responses.message())
            .await
            .expect("silence")?;
        let response = response.expect("a response");
        self.deliveries.extend(response.deliveries);
        self.results.extend(response.results);
        Ok(())
    }

    async fn until_delivered(&mut self, count: usize) {
        while self.deliveries.len() < count {
            self.next().await.unwrap();
        }
    }

    async fn until_settled(&mut self, count: usize) {
        while self.results.len() < count {
            self.next().await.unwrap();
        }
    }

    fn receipts(&self) -> Vec<Bytes> {
        let deliveries = self.deliveries.iter();
        deliveries
            .map(|delivery| delivery.receipt.clone())
            .collect()
    }

    fn bodies(&self) -> BTreeSet<Bytes> {
        let messages = self.deliveries.iter().map(|delivery| &delivery.message);
        messages
            .map(|message| message.as_ref().unwrap().body.clone())
            .collect()
    }
}

/// Also of a client that wants fewer messages than there are data groups.
#[tokio::test]
async fn a_client_gets_as_much_as_it_wants_each_message_once_and_acks_where_it_belongs() {
    let cluster = Cluster::start(3).await;
    let topics = cluster.topics(1).concat();
    fill(&cluster, &topics, 4).await;
    let mut consumer = Consumer::open(&cluster, &topics, 1).await;
    for count in 1..12 {
        consumer.until_delivered(count).await;
        // Were there more than it wants, they would come before the result of this.
        consumer.ack(0, vec![Bytes::from_static(b"none")]).await;
        consumer.results.clear();
        consumer.until_settled(1).await;
        assert_eq!(consumer.deliveries.len(), count);
        consumer.want(1).await;
    }
    consumer.until_delivered(12).await;
    assert_eq!(consumer.bodies().len(), 12);
    for delivery in &consumer.deliveries {
        let topic = &delivery.message.as_ref().unwrap().topic;
        let group = u32::from(delivery.receipt[1]);
        assert_eq!(cluster.placement.topic(topic), TopicHome::One(group));
        assert_eq!(delivery.attempt, 1);
    }
    let mut receipts = consumer.receipts();
    receipts.push(Bytes::from_static(b"none"));
    consumer.results.clear();
    consumer.ack(9, receipts).await;
    consumer.until_settled(1).await;
    let result = &consumer.results[0];
    assert_eq!((result.request_id, result.errors.len()), (9, 1));
    assert_eq!(result.errors[0].receipt, "none");
    for group in &cluster.groups {
        assert_eq!(group.backlog("stock"), 0);
    }
}

#[tokio::test]
async fn many_credits_are_used_and_too_many_are_refused() {
    let cluster = Cluster::start(2).await;
    let topics = cluster.topics(2).concat();
    fill(&cluster, &topics, 5).await;
    let mut consumer = Consumer::open(&cluster, &topics, 20).await;
    consumer.until_delivered(20).await;
    assert_eq!(consumer.bodies().len(), 20);
    consumer.want(65_537).await;
    let refused = consumer.next().await.unwrap_err();
    assert_eq!(reason(&refused), "TOO_MANY_CREDITS");
}

/// What one data group refuses ends the stream, in its words.
#[tokio::test]
async fn a_refusal_comes_through() {
    let cluster = Cluster::start(2).await;
    let mut topics = cluster.topics(1).concat();
    topics.push("no topic!".to_owned());
    let mut consumer = Consumer::open(&cluster, &topics, 1).await;
    let refused = consumer.next().await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert_eq!(reason(&refused), "ILLEGAL_NAME");
    let mut consumer = Consumer::open(&cluster, &[], 1).await;
    let refused = consumer.next().await.unwrap_err();
    assert_eq!(reason(&refused), "ILLEGAL_SUBSCRIPTIONS");
}

#[tokio::test]
async fn a_data_group_without_a_leader_stops_only_its_own_messages() {
    let cluster = Cluster::start(2).await;
    let topics = cluster.topics(1);
    fill(&cluster, &topics.concat(), 2).await;
    let mut consumer = Consumer::open(&cluster, &topics.concat(), 10).await;
    consumer.until_delivered(4).await;
    let receipts = consumer.receipts();
    cluster.groups[1].lose();
    // The other one goes on.
    fill(&cluster, &topics[0], 3).await;
    consumer.until_delivered(7).await;
    // Its acks wait until somebody leads again.
    consumer.ack(1, receipts).await;
    let early = timeout(Duration::from_millis(50), consumer.until_settled(1)).await;
    assert!(early.is_err(), "{:?}", consumer.results);
    cluster.groups[1].lead();
    consumer.until_settled(1).await;
    assert_eq!(consumer.results[0].errors, []);
    assert_eq!(cluster.groups[1].backlog("stock"), 0);
    fill(&cluster, &topics[1], 3).await;
    let again = |delivery: &v1::Delivery| u32::from(delivery.receipt[1]) == 1;
    while consumer
        .deliveries
        .iter()
        .skip(7)
        .filter(|one| again(one))
        .count()
        < 3
    {
        consumer.next().await.unwrap();
    }
}

/// The data group has recorded them, and its answer got lost.
#[tokio::test]
async fn receipts_without_a_result_are_told_again_on_the_next_stream() {
    let cluster = Cluster::start(2).await;
    let topics = cluster.topics(1).concat();
    fill(&cluster, &topics, 3).await;
    let mut consumer = Consumer::open(&cluster, &topics, 10).await;
    consumer.until_delivered(6).await;
    cluster.groups[1].cut_after(0);
    consumer.ack(1, consumer.receipts()).await;
    consumer.until_settled(1).await;
    let result = &consumer.results[0];
    assert_eq!((result.request_id, result.errors.as_slice()), (1, &[][..]));
    for group in &cluster.groups {
        assert_eq!(group.backlog("stock"), 0);
    }
}

#[tokio::test]
async fn receipts_do_not_wait_for_ever_and_without_any_data_group_the_stream_ends() {
    let options = Options {
        receipt_wait_ms: 20,
        ..Options::default()
    };
    let cluster = Cluster::with(2, options).await;
    let topics = cluster.topics(1).concat();
    fill(&cluster, &topics, 1).await;
    let mut consumer = Consumer::open(&cluster, &topics, 10).await;
    consumer.until_delivered(2).await;
    cluster.groups[1].lose();
    consumer.ack(1, consumer.receipts()).await;
    consumer.until_settled(1).await;
    let errors = &consumer.results[0].errors;
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert_eq!(errors[0].receipt[1], 1);
    let error = errors[0].error.as_ref().unwrap();
    assert_eq!(error.code, Code::Unavailable as u32);
    assert_eq!(cluster.groups[0].backlog("stock"), 0);
    cluster.groups[0].lose();
    let ended = consumer.next().await.unwrap_err();
    assert_eq!(ended.code(), Code::Unavailable);
}

/// One that settles and settles must not fill the memory with what it does not read.
#[tokio::test]
async fn nothing_more_is_taken_of_a_client_that_does_not_read_its_results() {
    const REQUESTS: u64 = 2_000;
    let options = Options {
        consume_requests_max: 4,
        ..Options::default()
    };
    let cluster = Cluster::with(2, options).await;
    let first = subscribe(&cluster.topics(1).concat(), 1);
    let stream = Unread::open(cluster.router.routes(), first, REQUESTS).await;
    let taken = stream.taken().await;
    // Four responses lie there, each with four results at most, one more waits for its place,
    // and the request after that for its turn.
    assert!((4..=5 * 4 + 1).contains(&taken), "{taken} were taken");
    let results = timeout(LONG, stream.read()).await.unwrap();
    assert!(results.into_iter().eq(1..=REQUESTS));
}

/// They are there for others at once when the stream ends.
#[tokio::test]
async fn messages_that_were_held_back_are_given_back() {
    let cluster = Cluster::start(3).await;
    let topics = cluster.topics(1).concat();
    fill(&cluster, &topics, 1).await;
    let mut first = Consumer::open(&cluster, &topics, 1).await;
    first.until_delivered(1).await;
    // Meanwhile the others are leased here.
    sleep(Duration::from_millis(50)).await;
    let Consumer {
        requests,
        mut responses,
        ..
    } = first;
    drop(requests);
    while responses.message().await.unwrap().is_some() {}
    let mut second = Consumer::open(&cluster, &topics, 10).await;
    let both = timeout(Duration::from_secs(15), second.until_delivered(2));
    both.await.expect("they are leased to nobody");
}

#[tokio::test]
async fn a_stream_that_is_closed_ends() {
    let cluster = Cluster::start(2).await;
    let topics = cluster.topics(1).concat();
    let mut consumer = Consumer::open(&cluster, &topics, 1).await;
    cluster.router.close();
    let ended = consumer.next().await.unwrap_err();
    assert_eq!(reason(&ended), "SHUTTING_DOWN");
}
