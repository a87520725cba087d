//! Transactions whose messages go to several data groups.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::join_all;
use outrigger_core::{
    limits::QUEUES_COUNT_DEFAULT,
    placement::{Placement, TopicHome},
};
use outrigger_proto::{
    cluster::{ReadQueueRequest, cluster_client::ClusterClient},
    v1::{self, admin_client::AdminClient, producer_client::ProducerClient},
};
use outrigger_tests::{
    cluster::Cluster,
    sidecar::{Settings, Sidecar},
};
use prost::Message as _;
use tokio::{
    sync::watch,
    time::{Duration, Instant, sleep},
};
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
    // It learns from the node how many data groups there are.
    let beside = Settings::new(cluster.directory().join("sidecar"));
    let sidecar = Sidecar::start(beside.before(&[cluster.edge(2)]))?;
    let topics = topics();
    let mut done = Done::default();
    several(&[sidecar.uri()], &topics, 60, &mut done).await;
    several(&[cluster.uri(3)], &topics, 40, &mut done).await;
    check(&cluster, &topics, &done).await?;
    cluster.agree(&[1, 2, 3]).await
}

/// How many messages a topic has.
async fn count(uri: String, topic: &str) -> anyhow::Result<u64> {
    let request = v1::DescribeTopicRequest {
        topic: topic.to_owned(),
    };
    let mut admin = AdminClient::connect(uri).await?;
    let topic = admin.describe_topic(request).await?.into_inner();
    let queues = topic.queues.iter();
    Ok(queues
        .map(|queue| queue.next_offset - queue.first_offset)
        .sum())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_process_has_several_data_groups_and_keeps_their_number() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let settings = Settings::new(directory.path().join("data"));
    let topics = topics();
    let mut done = Done::default();
    let mut sidecar = Sidecar::start(settings.clone().with_env("OUTRIGGER_GROUPS", "3"))?;
    several(&[sidecar.uri()], &topics, 40, &mut done).await;
    sidecar.kill()?;
    drop(sidecar);

    let other = Sidecar::start(settings.clone().with_env("OUTRIGGER_GROUPS", "2"));
    let refused = other.expect_err("another number").to_string();
    assert!(refused.contains("has 3 data groups, not 2"), "{refused}");

    let sidecar = Sidecar::start(settings)?;
    several(&[sidecar.uri()], &topics, 4, &mut done).await;
    let wanted = done.committed.len() as u64;
    for topic in &topics {
        eventually(&format!("{topic} has everything"), async || {
            count(sidecar.uri(), topic).await.unwrap_or(0) >= wanted
        })
        .await;
        assert_eq!(count(sidecar.uri(), topic).await?, wanted);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_loses_and_doubles_nothing() -> anyhow::Result<()> {
    let mut cluster = Cluster::start_with(3, THREE).await?;
    let topics = topics();
    let uris: Vec<_> = cluster
        .ids()
        .into_iter()
        .map(|id| cluster.uri(id))
        .collect();
    let mut done = Done::default();
    let (over, ending) = watch::channel(false);
    let working = async {
        while !*ending.borrow() {
            several(&uris, &topics, 8, &mut done).await;
        }
    };
    let restarting = async {
        for id in cluster.ids() {
            let status = cluster.stop(id).await?;
            anyhow::ensure!(status.success(), "{status}: {}", cluster.output(id));
            cluster.start_node(id).await?;
        }
        over.send_replace(true);
        Ok(())
    };
    let ((), restarted) = tokio::join!(working, restarting);
    restarted?;
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
