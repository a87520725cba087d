use std::{collections::BTreeSet, time::Duration};

use outrigger_proto::v1::{self, consumer_client::ConsumerClient};
use tokio::time::{sleep, timeout};
use tonic::{Code, Status, transport::Channel};

use super::{Cluster, LONG, consume::fill};

async fn receive(
    client: &mut ConsumerClient<Channel>,
    topics: &[String],
    max_messages: u32,
    wait_ms: u64,
) -> Result<Vec<v1::Delivery>, Status> {
    let subscription = |topic: &String| v1::Subscription {
        topic: topic.clone(),
        filter: String::new(),
    };
    let request = v1::ReceiveRequest {
        consumer_group: "stock".to_owned(),
        subscriptions: topics.iter().map(subscription).collect(),
        max_messages,
        wait_ms,
        ..Default::default()
    };
    let received = timeout(LONG, client.receive(request))
        .await
        .expect("silence");
    Ok(received?.into_inner().deliveries)
}

#[tokio::test]
async fn messages_of_all_data_groups_are_received_once_and_acknowledged() {
    let cluster = Cluster::start(3).await;
    let topics = cluster.topics(1).concat();
    fill(&cluster, &topics, 4).await;
    let mut client = ConsumerClient::new(cluster.channel());
    let mut bodies = BTreeSet::new();
    let mut receipts = Vec::new();
    while bodies.len() < 12 {
        let max_messages = 1 + bodies.len() as u32 % 5;
        let deliveries = receive(&mut client, &topics, max_messages, 1_000)
            .await
            .unwrap();
        assert!(deliveries.len() <= max_messages as usize);
        for delivery in deliveries {
            assert!(bodies.insert(delivery.message.unwrap().body));
            receipts.push(delivery.receipt);
        }
    }
    let acked = v1::AckRequest {
        consumer_group: "stock".to_owned(),
        receipts: receipts.split_off(3),
    };
    assert_eq!(client.ack(acked).await.unwrap().into_inner().errors, []);
    let nack = |receipt| v1::Nack {
        receipt,
        delay_ms: Some(0),
    };
    let nacked = v1::NackRequest {
        consumer_group: "stock".to_owned(),
        nacks: receipts.into_iter().map(nack).collect(),
    };
    assert_eq!(client.nack(nacked).await.unwrap().into_inner().errors, []);
    let left: u64 = cluster
        .groups
        .iter()
        .map(|group| group.backlog("stock"))
        .sum();
    assert_eq!(left, 3);
    assert_eq!(receive(&mut client, &topics, 0, 0).await.unwrap().len(), 3);
}

#[tokio::test]
async fn a_message_that_comes_later_is_waited_for() {
    let cluster = Cluster::start(2).await;
    let topics = cluster.topics(1).concat();
    let mut client = ConsumerClient::new(cluster.channel());
    assert_eq!(receive(&mut client, &topics, 5, 0).await.unwrap(), []);
    let (received, ()) = tokio::join!(receive(&mut client, &topics, 5, 30_000), async {
        sleep(Duration::from_millis(150)).await;
        fill(&cluster, &topics[1..], 1).await;
    });
    assert_eq!(received.unwrap().len(), 1);
}

#[tokio::test]
async fn a_data_group_without_a_leader_holds_up_only_its_own_messages() {
    let cluster = Cluster::start(2).await;
    let topics = cluster.topics(1);
    fill(&cluster, &topics.concat(), 1).await;
    let mut client = ConsumerClient::new(cluster.channel());
    cluster.groups[1].lose();
    let received = receive(&mut client, &topics.concat(), 5, 100)
        .await
        .unwrap();
    assert_eq!(received.len(), 1);
    let request = v1::AckRequest {
        consumer_group: "stock".to_owned(),
        receipts: vec![received[0].receipt.clone()],
    };
    let acked = client.ack(request).await.unwrap().into_inner();
    assert_eq!(acked.errors, []);
    let refused = receive(&mut client, &topics[1], 5, 0).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
}
