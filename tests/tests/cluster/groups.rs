//! Several data groups: who leads them, what is refused, and that every change is one of all.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::try_join_all;
use outrigger_proto::{
    cluster::Role,
    v1::{self, producer_client::ProducerClient},
};
use outrigger_tests::cluster::Cluster;

use crate::{load::eventually, repair::damage};

pub(crate) const THREE: &str = "groups = 3\ndrain_ms = 5000\n";

/// The voters of each data group, as its leader knows them.
async fn voters(cluster: &Cluster) -> BTreeMap<u32, BTreeSet<u64>> {
    let mut voters = BTreeMap::new();
    for (group, leader) in cluster.leads().await {
        let Ok(status) = cluster.status(leader).await else {
            continue;
        };
        let groups = status.data_groups.iter();
        for known in groups.filter(|known| known.data_group == group) {
            let replicas = known.replicas.iter();
            let voting = replicas.filter(|replica| replica.role() != Role::Learner);
            voters.insert(group, voting.map(|replica| replica.id).collect());
        }
    }
    voters
}

pub(crate) async fn led_by(cluster: &Cluster, leaders: &[u64]) {
    let wanted: BTreeMap<u32, u64> = (0..).zip(leaders.iter().copied()).collect();
    let what = format!("led by {leaders:?}");
    eventually(&what, async || cluster.leads().await == wanted).await;
}

async fn made_of(cluster: &Cluster, groups: u32, members: &[u64]) {
    let members: BTreeSet<u64> = members.iter().copied().collect();
    let wanted: BTreeMap<_, _> = (0..groups).map(|group| (group, members.clone())).collect();
    let what = format!("every data group has the voters {members:?}");
    eventually(&what, async || voters(cluster).await == wanted).await;
}

/// Sends messages to topics of all data groups, through any node.
async fn send(uri: String, count: usize) -> anyhow::Result<()> {
    const BODY_BYTES: usize = 1_024;
    let producer = ProducerClient::connect(uri).await?;
    let sends = (0..count).map(|number| {
        let mut producer = producer.clone();
        async move {
            let message = v1::Message {
                topic: format!("topic-{}", number % 16),
                body: vec![7; BODY_BYTES].into(),
                ..v1::Message::default()
            };
            let request = v1::SendRequest {
                message: Some(message),
                ..v1::SendRequest::default()
            };
            producer.send(request).await.map(drop)
        }
    });
    try_join_all(sends).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_node_leads_its_share_and_others_take_it_over() -> anyhow::Result<()> {
    let mut cluster = Cluster::start_with(3, THREE).await?;
    led_by(&cluster, &[1, 2, 3]).await;
    send(cluster.uri(1), 64).await?;
    let (done, printed) = cluster.command(2, &["cluster", "status"]).await?;
    assert!(done && printed.contains("3 data groups"), "{printed}");
    for leader in ["node 1", "node 2", "node 3"] {
        assert!(printed.contains(leader), "{printed}");
    }
    println!("{printed}");

    cluster.kill(2)?;
    eventually("the dead node's data group is led again", async || {
        cluster.leads().await.len() == 3
    })
    .await;
    // The others did not have to be elected again.
    let leads = cluster.leads().await;
    assert_eq!((leads[&0], leads[&2]), (1, 3));
    send(cluster.uri(1), 64).await?;
    cluster.ready(1).await?;
    let (done, printed) = cluster.command(3, &["cluster", "status"]).await?;
    assert!(done, "{printed}");
    println!("{printed}");

    cluster.start_node(2).await?;
    led_by(&cluster, &[1, 2, 3]).await;
    send(cluster.uri(2), 64).await?;
    let (_, json) = cluster.command(1, &["cluster", "status", "--json"]).await?;
    let json: serde_json::Value = serde_json::from_str(&json)?;
    assert_eq!(json["data_groups"][1]["leader"], 2, "{json}");
    for labels in ["{data_group=\"0\"} 1", "{data_group=\"1\"} 0"] {
        let line = format!("outrigger_cluster_leads{labels}");
        eventually(&line, async || {
            let metrics = outrigger_tests::cluster::get(cluster.http(1), "/metrics").await;
            metrics.is_ok_and(|metrics| metrics.contains(&line))
        })
        .await;
    }
    cluster.agree(&[1, 2, 3]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_majority_every_data_group_says_so() -> anyhow::Result<()> {
    let mut cluster = Cluster::start_with(3, THREE).await?;
    led_by(&cluster, &[1, 2, 3]).await;
    cluster.kill(1)?;
    cluster.kill(2)?;
    eventually("node 3 is not ready", async || {
        let answer = cluster.readiness(3).await;
        answer.is_ok_and(|(is_ready, why)| !is_ready && why.contains("no leader of data group"))
    })
    .await;
    let (done, printed) = cluster.command(3, &["cluster", "status"]).await?;
    assert!(!done && printed.contains("majority"), "{printed}");
    println!("{printed}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_number_of_data_groups_is_refused_on_both_sides() -> anyhow::Result<()> {
    const GROUPS: &str = "OUTRIGGER_GROUPS";
    let mut cluster = Cluster::prepare(3, "")?;
    // Who forms the cluster decides, and the others need not be told.
    cluster.set_env(GROUPS, "3");
    cluster.spawn(1)?;
    cluster.unset_env(GROUPS);
    cluster.spawn(2)?;
    cluster.spawn(3)?;
    for id in 1..=3 {
        cluster.ready(id).await?;
    }
    assert_eq!(cluster.status(3).await?.data_groups.len(), 3);

    cluster.set_env(GROUPS, "4");
    cluster.make(4)?;
    cluster.spawn(4)?;
    assert!(!cluster.ended(4).await?.success());
    let printed = cluster.output(4);
    println!("{printed}");
    let advice = "all nodes of a cluster have the same number";
    assert!(printed.contains(advice), "{printed}");
    let complaint = "node 4 has 4 data groups and this one 3";
    let complains = |id: &u64| cluster.output(*id).contains(complaint);
    assert!([1, 2, 3].iter().any(complains), "{}", cluster.output(1));

    // What a member was made with stays.
    cluster.stop(3).await?;
    cluster.spawn(3)?;
    assert!(!cluster.ended(3).await?.success());
    let printed = cluster.output(3);
    assert!(printed.contains("has 3 data groups, not 4"), "{printed}");
    cluster.unset_env(GROUPS);
    cluster.start_node(3).await?;
    cluster.agree(&[1, 2, 3]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_come_and_go_in_all_data_groups() -> anyhow::Result<()> {
    let mut cluster = Cluster::start_with(3, "groups = 4\n").await?;
    send(cluster.uri(1), 64).await?;
    cluster.make(4)?;
    cluster.spawn(4)?;
    cluster.printed(4, "waits to be added").await?;
    let add = format!("4={}", cluster.peer(4));
    let (done, printed) = cluster.command(2, &["cluster", "add", &add]).await?;
    assert!(done, "{printed}");
    made_of(&cluster, 4, &[1, 2, 3, 4]).await;
    led_by(&cluster, &[1, 2, 3, 4]).await;
    let (done, printed) = cluster.command(2, &["cluster", "add", &add]).await?;
    assert!(
        !done && printed.contains("is a member already"),
        "{printed}"
    );

    cluster.kill(2)?;
    cluster.make(5)?;
    cluster.spawn(5)?;
    let with = format!("5={}", cluster.peer(5));
    let replace = ["cluster", "replace", "2", "--with", &with];
    let (done, printed) = cluster.command(3, &replace).await?;
    assert!(done, "{printed}");
    made_of(&cluster, 4, &[1, 3, 4, 5]).await;
    led_by(&cluster, &[1, 3, 4, 5]).await;

    // One that leads is taken out, too.
    let (done, printed) = cluster.command(3, &["cluster", "remove", "1"]).await?;
    assert!(done, "{printed}");
    made_of(&cluster, 4, &[3, 4, 5]).await;
    cluster.printed(1, "was removed from the cluster").await?;
    send(cluster.uri(5), 64).await?;
    led_by(&cluster, &[3, 4, 5, 3]).await;
    let transfer = ["cluster", "transfer", "--to", "4"];
    let (done, printed) = cluster.command(5, &transfer).await?;
    assert!(done, "{printed}");
    cluster.agree(&[3, 4, 5]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_node_is_repaired_in_all_data_groups() -> anyhow::Result<()> {
    let mut cluster = Cluster::start_with(3, THREE).await?;
    send(cluster.uri(1), 2_000).await?;
    cluster.agree(&[1, 2, 3]).await?;
    cluster.kill(3)?;
    damage(&cluster.data(3))?;
    cluster.start_node(3).await?;
    cluster
        .printed(3, "the log is damaged; it is set aside")
        .await?;
    cluster.printed(3, "repaired, and a voter again").await?;
    made_of(&cluster, 3, &[1, 2, 3]).await;
    cluster.agree(&[1, 2, 3]).await?;
    // It counts again in all of them: without it there would be no majority now.
    cluster.kill(1)?;
    eventually("all data groups are led", async || {
        cluster.leads().await.len() == 3
    })
    .await;
    send(cluster.uri(3), 64).await?;
    cluster.agree(&[2, 3]).await
}
