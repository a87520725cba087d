use std::time::Duration;

use bytes::Bytes;
use outrigger_core::placement::TopicHome;
use outrigger_proto::{
    FILE_DESCRIPTOR_SET,
    v1::{
        self, admin_client::AdminClient, guard_acquire_response::Outcome,
        guard_client::GuardClient, producer_client::ProducerClient,
    },
};
use prost::Message as _;
use prost_types::FileDescriptorSet;
use tonic::{Code, body::Body, codegen::Service as _};
use uuid::Uuid;

use super::{Cluster, consume::fill, reason};
use crate::route::wire;
use crate::serve::grpc::SERVED;

#[tokio::test]
async fn every_call_of_applications_is_known() {
    let cluster = Cluster::start(2).await;
    let files = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
    let files = files
        .file
        .iter()
        .filter(|file| file.package() == "outrigger.v1");
    let mut seen = 0;
    // Every process answers calls about sagas itself.
    let served = |service: &&prost_types::ServiceDescriptorProto| {
        let name = format!("outrigger.v1.{}", service.name());
        SERVED.contains(&name.as_str()) && service.name() != "Saga"
    };
    for service in files.flat_map(|file| &file.service).filter(served) {
        for call in &service.method {
            let path = format!("/outrigger.v1.{}/{}", service.name(), call.name());
            let request = http::Request::post(&path)
                .body(Body::new(http_body_util::Full::new(Bytes::from_static(
                    &[0; 5],
                ))))
                .unwrap();
            let mut router = cluster.router.clone();
            let response = router.call(request).await.unwrap();
            let status = tonic::Status::from_header_map(response.headers());
            let code = status.map_or(Code::Ok, |status| status.code());
            assert_ne!(code, Code::Unimplemented, "{path}");
            seen += 1;
        }
    }
    assert!(seen > 20, "only {seen} calls were found");
}

#[tokio::test]
async fn topics_are_made_where_they_lie_and_listed_together() {
    let cluster = Cluster::start(3).await;
    let topics = cluster.topics(2).concat();
    let mut admin = AdminClient::new(cluster.channel());
    for topic in &topics {
        let request = v1::CreateTopicRequest {
            topic: topic.clone(),
            queues: 2,
            ..Default::default()
        };
        admin.create_topic(request).await.unwrap();
        for (group, number) in cluster.groups.iter().zip(0..) {
            let is_home = cluster.placement.topic(topic) == TopicHome::One(number);
            assert_eq!(group.log.topic(topic).is_some(), is_home);
        }
    }
    let dead = "%DLQ%stock".to_owned();
    let request = v1::CreateTopicRequest {
        topic: dead.clone(),
        queues: 1,
        ..Default::default()
    };
    let made = admin.create_topic(request).await.unwrap().into_inner();
    assert_eq!(made.queues.len(), 3);
    let listed = admin.list_topics(v1::ListTopicsRequest {}).await.unwrap();
    let listed = listed.into_inner().topics;
    let mut names: Vec<_> = topics.iter().chain([&dead]).cloned().collect();
    names.sort();
    let found: Vec<_> = listed.iter().map(|topic| topic.topic.clone()).collect();
    assert_eq!(found, names);
    let unknown = v1::DescribeTopicRequest {
        topic: "nothing".to_owned(),
    };
    let refused = admin.describe_topic(unknown).await.unwrap_err();
    assert_eq!(reason(&refused), "TOPIC_NOT_FOUND");
}

#[tokio::test]
async fn a_consumer_group_exists_in_every_data_group_and_is_described_as_one() {
    let cluster = Cluster::start(3).await;
    let topics = cluster.topics(1).concat();
    fill(&cluster, &topics, 2).await;
    let mut admin = AdminClient::new(cluster.channel());
    let unknown = v1::DescribeConsumerGroupRequest {
        consumer_group: "stock".to_owned(),
    };
    let refused = admin
        .describe_consumer_group(unknown.clone())
        .await
        .unwrap_err();
    assert_eq!(reason(&refused), "CONSUMER_GROUP_NOT_FOUND");
    let request = v1::CreateConsumerGroupRequest {
        consumer_group: "stock".to_owned(),
        max_attempts: 3,
        ..Default::default()
    };
    admin.create_consumer_group(request).await.unwrap();
    for group in &cluster.groups {
        assert_eq!(
            group
                .log
                .consumer_group("stock")
                .unwrap()
                .config
                .max_attempts,
            3
        );
    }
    let listed = admin
        .list_consumer_groups(v1::ListConsumerGroupsRequest {})
        .await
        .unwrap();
    assert_eq!(listed.into_inner().groups.len(), 1);
    let described = admin
        .describe_consumer_group(unknown)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(described.max_attempts, 3);
}

#[tokio::test]
async fn transactions_are_decided_at_their_home_and_listed_page_by_page() {
    let cluster = Cluster::start(3).await;
    let topics = cluster.topics(1).concat();
    let mut producer = ProducerClient::new(cluster.channel());
    let mut admin = AdminClient::new(cluster.channel());
    let ids: Vec<String> = (1..=10).map(|id| Uuid::from_u128(id).to_string()).collect();
    for id in &ids {
        let request = v1::PrepareRequest {
            transaction_id: id.clone(),
            producer_group: "shop".to_owned(),
            messages: vec![v1::Message {
                topic: topics[0].clone(),
                ..Default::default()
            }],
        };
        producer.prepare(request).await.unwrap();
    }
    for limit in [1, 2, 3, 10] {
        let mut listed = Vec::new();
        let mut page = String::new();
        loop {
            let request = v1::ListTransactionsRequest {
                limit,
                page,
                ..Default::default()
            };
            let answer = admin.list_transactions(request).await.unwrap().into_inner();
            assert!(answer.transactions.len() <= limit as usize);
            listed.extend(
                answer
                    .transactions
                    .into_iter()
                    .map(|one| one.transaction_id),
            );
            page = answer.next_page;
            if page.is_empty() {
                break;
            }
        }
        listed.sort();
        assert_eq!(listed, ids, "with pages of {limit}");
    }
    let request = v1::ListTransactionsRequest {
        page: "7:1".to_owned(),
        ..Default::default()
    };
    let refused = admin.list_transactions(request).await.unwrap_err();
    assert_eq!(reason(&refused), "ILLEGAL_PAGE");
    let health = admin
        .health(v1::HealthRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(health.unresolved_transactions, 10);
    for id in &ids {
        let request = v1::ResolveRequest {
            transaction_id: id.clone(),
            verdict: v1::Verdict::Commit.into(),
            payload: None,
        };
        producer.resolve(request).await.unwrap();
    }
    let health = admin
        .health(v1::HealthRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(health.unresolved_transactions, 0);
}

#[tokio::test]
async fn a_guard_has_one_home() {
    let cluster = Cluster::start(3).await;
    let mut guards = GuardClient::new(cluster.channel());
    for key in 0..20 {
        for (token, is_first) in [("one", true), ("two", false)] {
            let request = v1::GuardAcquireRequest {
                guard: Some(v1::GuardKey {
                    scope: "shop".to_owned(),
                    key: key.to_string(),
                    ..Default::default()
                }),
                token: token.to_owned(),
                ..Default::default()
            };
            let outcome = guards.acquire(request).await.unwrap().into_inner().outcome;
            let acquired = matches!(outcome, Some(Outcome::Acquired(_)));
            assert_eq!(acquired, is_first);
        }
    }
}

/// Calls for the others are answered.
#[tokio::test]
async fn a_call_fails_with_its_own_data_group_only() {
    let cluster = Cluster::start(2).await;
    let topics = cluster.topics(1).concat();
    fill(&cluster, &topics, 1).await;
    cluster.groups[1].lose();
    let mut admin = AdminClient::new(cluster.channel());
    let describe = |topic: &String| v1::DescribeTopicRequest {
        topic: topic.clone(),
    };
    admin.describe_topic(describe(&topics[0])).await.unwrap();
    let refused = admin
        .describe_topic(describe(&topics[1]))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert_eq!(reason(&refused), "NO_LEADER");
    let health = admin.health(v1::HealthRequest {}).await.unwrap();
    assert!(!health.into_inner().ready);
}

#[test]
fn metadata_and_deadlines_go_with_a_call() {
    let mut request = tonic::Request::new(());
    request.set_timeout(Duration::from_millis(250));
    request
        .metadata_mut()
        .insert("traceparent", "here".parse().unwrap());
    let (metadata, _, ()) = request.into_parts();
    let call = wire::call(&wire::head(metadata), ());
    assert_eq!(call.metadata().get("traceparent").unwrap(), "here");
    assert_eq!(call.metadata().get("grpc-timeout").unwrap(), "250000u");
}
