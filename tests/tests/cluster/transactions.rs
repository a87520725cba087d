//! Transactions whose messages go to several data groups.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::join_all;
use outrigger_core::{
    limits::QUEUES_COUNT_DEFAULT,
    placement::{Placement, TopicHome},
};
use outrigger_proto::{
    cluster::{ReadQueueRequest, cluster_client::ClusterClient},
    v1::{self, producer_client::ProducerClient},
};
use outrigger_tests::cluster::Cluster;
use prost::Message as _;
use tokio::time::{Duration, Instant, sleep};
use tonic::Code;
use uuid::Uuid;

use crate::{
    groups::{THREE, led_by},
    load::{PATIENCE, eventually},
};

const GROUPS: u32 = 3;

/// One topic in each data group, in their order.
fn topics() -> Vec<String> {
    let placement = Placement::new(GROUPS).expect("a legal number");
    let topic_of = |group| {
        let mut names = (0..).map(|number| format!("topic-{number}"));
        names.find(|name| placement.topic(name) == TopicHome::One(group))
    };
    (0..GROUPS).filter_map(topic_of).collect()
}

/// What an application did.
#[derive(Default)]
struct Done {
    committed: BTreeSet<String>,
    rolled_back: BTreeSet<String>,
}

/// Repeats a call through all nodes until one has answered it.
async fn repeated<T>(
    uris: &[String],
    mut call: impl AsyncFnMut(ProducerClient<tonic::transport::Channel>) -> Result<T, tonic::Status>,
) -> T {
    let deadline = Instant::now() + PATIENCE;
    for uri in uris.iter().cycle() {
        let answer = match ProducerClient::connect(uri.clone()).await {
            Ok(client) => call(client).await,
            Err(_) => Err(tonic::Status::unavailable("nobody listens")),
        };
        match answer {
            Ok(answer) => return answer,
            Err(status) => {
                let may_repeat = matches!(status.code(), Code::Unavailable | Code::Aborted);
                assert!(may_repeat && Instant::now() < deadline, "{status:?}");
                sleep(Duration::from_millis(20)).await;
            }
        }
    }
    unreachable!("there are nodes")
}

/// A transaction with a message for each topic. The body of all of them is its id.
async fn transaction(uris: &[String], topics: &[String], commits: bool) -> String {
    let id = Uuid::new_v4().to_string();
    let messages = topics.iter().map(|topic| v1::Message {
        topic: topic.clone(),
        body: id.clone().into_bytes().into(),
        ..v1::Message::default()
    });
    let prepare = v1::PrepareRequest {
        transaction_id: id.clone(),
        producer_group: "orders".to_owned(),
        messages: messages.collect(),
    };
    repeated(uris, async |mut client| {
        client.prepare(prepare.clone()).await
    })
    .await;
    let verdict = match commits {
        true => v1::Verdict::Commit,
        false => v1::Verdict::Rollback,
    };
    let resolve = v1::ResolveRequest {
        transaction_id: id.clone(),
        verdict: verdict.into(),
        payload: None,
    };
    repeated(uris, async |mut client| {
        client.resolve(resolve.clone()).await
    })
    .await;
    id
}

async fn several(uris: &[String], topics: &[String], count: usize, done: &mut Done) {
    let made = (0..count).map(async |number| {
        let commits = number % 4 != 3;
        (commits, transaction(uris, topics, commits).await)
    });
    for (commits, id) in join_all(made).await {
        match commits {
            true => done.committed.insert(id),
            false => done.rolled_back.insert(id),
        };
    }
}

/// How often each body is stored in a topic, as the leader of its data group has it.
async fn stored(cluster: &Cluster, topic: &str) -> anyhow::Result<BTreeMap<String, usize>> {
    let placement = Placement::new(GROUPS)?;
    let TopicHome::One(home) = placement.topic(topic) else {
        anyhow::bail!("a topic of one data group");
    };
    let leads = cluster.leads().await;
    let leader = *leads
        .get(&home)
        .ok_or_else(|| anyhow::anyhow!("no leader"))?;
    let mut node = ClusterClient::connect(cluster.uri(leader)).await?;
    let mut bodies = BTreeMap::new();
    for queue in 0..QUEUES_COUNT_DEFAULT {
        let request = ReadQueueRequest {
            topic: topic.to_owned(),
            queue,
            limit: 4_096,
            ..ReadQueueRequest::default()
        };
        for message in node.read_queue(request).await?.into_inner().messages {
            let message = v1::Message::decode(message.message)?;
            let body = String::from_utf8(message.body.to_vec())?;
            *bodies.entry(body).or_default() += 1;
        }
    }
    Ok(bodies)
}

/// Everything that was committed is in every topic, once, and nothing else ever gets there.
async fn check(cluster: &Cluster, topics: &[String], done: &Done) -> anyhow::Result<()> {
    for topic in topics {
        eventually(&format!("{topic} has everything"), async || {
            let found = stored(cluster, topic).await.unwrap_or_default();
            done.committed.iter().all(|id| found.contains_key(id))
        })
        .await;
    }
    for topic in topics {
        let found = stored(cluster, topic).await?;
        let doubled: Vec<_> = found.iter().filter(|(_, count)| **count > 1).collect();
        assert!(doubled.is_empty(), "{topic} has twice: {doubled:?}");
        let phantoms: Vec<_> = found
            .keys()
            .filter(|id| !done.committed.contains(*id))
            .collect();
        assert!(
            phantoms.is_empty(),
            "{topic} has, rolled back: {phantoms:?}"
        );
        assert_eq!(found.len(), done.committed.len());
    }
    println!(
        "{} committed, {} rolled back",
        done.committed.len(),
        done.rolled_back.len()
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_reach_the_topics_of_all_data_groups_or_none() -> anyhow::Result<()> {
    let cluster = Cluster::start_with(3, THREE).await?;
    led_by(&cluster, &[1, 2, 3]).await;
    let topics = topics();
    let uris: Vec<_> = cluster
        .ids()
        .into_iter()
        .map(|id| cluster.uri(id))
        .collect();
    let mut done = Done::default();
    several(&uris, &topics, 100, &mut done).await;
    check(&cluster, &topics, &done).await?;
    cluster.agree(&[1, 2, 3]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_dies_after_the_commit_the_messages_arrive_once() -> anyhow::Result<()> {
    let mut cluster = Cluster::start_with(3, THREE).await?;
    led_by(&cluster, &[1, 2, 3]).await;
    let topics = topics();
    let uris: Vec<_> = cluster
        .ids()
        .into_iter()
        .map(|id| cluster.uri(id))
        .collect();
    let mut done = Done::default();
    several(&uris, &topics, 8, &mut done).await;
    // One node after the other, each of which leads a home and a target; then two at a time,
    // with which the cluster stands still until they are back.
    for victims in [vec![1], vec![2], vec![3], vec![1, 2], vec![2, 3]] {
        several(&uris, &topics, 40, &mut done).await;
        for id in &victims {
            cluster.kill(*id)?;
        }
        for id in &victims {
            cluster.spawn(*id)?;
        }
        several(&uris, &topics, 8, &mut done).await;
    }
    for id in cluster.ids() {
        cluster.ready(id).await?;
    }
    check(&cluster, &topics, &done).await?;
    cluster.agree(&[1, 2, 3]).await
}
