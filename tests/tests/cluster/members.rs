//! Taking nodes in and out.

use outrigger_sdk::Message;
use outrigger_tests::cluster::Cluster;

use crate::load::{Load, check, client, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_node_is_refused_with_advice_and_replaced() -> anyhow::Result<()> {
    let mut cluster = Cluster::start(3).await?;
    let load = Load::start(vec![cluster.uri(1), cluster.uri(2)]).await;
    load.goes_on(200).await;

    cluster.kill(3)?;
    cluster.wipe(3)?;
    cluster.spawn(3)?;
    let status = cluster.ended(3).await?;
    assert!(!status.success());
    let printed = cluster.output(3);
    let advice = "outrigger cluster replace 3 --with NEW=HOST:PORT --server http://127.0.0.1:";
    assert!(printed.contains(advice), "{printed}");

    cluster.make(4)?;
    cluster.spawn(4)?;
    let waits = format!("outrigger cluster add 4={}", cluster.peer(4));
    cluster.printed(4, &waits).await?;
    let (is_ready, why) = cluster.readiness(4).await?;
    assert!(!is_ready && why.contains(&waits), "{why}");
    let with = format!("4={}", cluster.peer(4));
    let replace = ["cluster", "replace", "3", "--with", &with];
    let (done, printed) = cluster.command(1, &replace).await?;
    assert!(done, "{printed}");
    cluster.ready(4).await?;
    let members = cluster.status(cluster.leader().await?).await?.members;
    let ids: Vec<_> = members
        .iter()
        .filter_map(|m| Some(m.node.as_ref()?.id))
        .collect();
    assert_eq!(ids, [1, 2, 4]);

    load.goes_on(200).await;
    let told = load.stop().await;
    // The new one is as good as any.
    cluster.kill(1)?;
    check(&client(cluster.uri(4)).await, &told).await;
    cluster.agree(&[2, 4]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_come_and_go_and_the_leader_hands_over() -> anyhow::Result<()> {
    let mut cluster = Cluster::start(3).await?;
    let client = client(cluster.uri(1)).await;
    client
        .producer("p")
        .send(Message::new("topic", "one"))
        .await?;

    cluster.make(4)?;
    cluster.spawn(4)?;
    cluster.printed(4, "waits to be added").await?;
    let (done, printed) = cluster
        .command(2, &["cluster", "add", &format!("4={}", cluster.peer(4))])
        .await?;
    assert!(done, "{printed}");
    cluster.ready(4).await?;
    cluster.agree(&[1, 2, 3, 4]).await?;

    let (done, printed) = cluster
        .command(3, &["cluster", "transfer", "--to", "4"])
        .await?;
    assert!(done, "{printed}");
    assert_eq!(cluster.leader().await?, 4);

    // The leader itself is taken out.
    eventually("node 4 is out", async || {
        let removed = cluster.command(1, &["cluster", "remove", "4"]).await;
        removed.is_ok_and(|(done, printed)| done || printed.contains("is not a member"))
    })
    .await;
    cluster.printed(4, "was removed from the cluster").await?;
    assert_ne!(cluster.leader().await?, 4);
    client
        .producer("p")
        .send(Message::new("topic", "two"))
        .await?;
    cluster.agree(&[1, 2, 3]).await?;

    let (done, printed) = cluster.command(2, &["cluster", "status"]).await?;
    assert!(done && printed.contains("leads, term"), "{printed}");
    let rows = printed.lines().filter(|line| line.ends_with("yes")).count();
    assert_eq!(rows, 3, "{printed}");
    let (_, json) = cluster.command(2, &["cluster", "status", "--json"]).await?;
    let json: serde_json::Value = serde_json::from_str(&json)?;
    assert_eq!(json["members"].as_array().map(Vec::len), Some(3), "{json}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_quorum_changes_end_with_a_clear_error() -> anyhow::Result<()> {
    let mut cluster = Cluster::start(3).await?;
    cluster.make(4)?;
    cluster.spawn(4)?;
    cluster.printed(4, "waits to be added").await?;
    let leader = cluster.leader().await?;
    for id in [1, 2, 3].into_iter().filter(|id| *id != leader) {
        cluster.kill(id)?;
    }
    let add = format!("4={}", cluster.peer(4));
    let (done, printed) = cluster.command(leader, &["cluster", "add", &add]).await?;
    assert!(!done, "{printed}");
    let clear = ["majority", "no leader"];
    assert!(
        clear.iter().any(|words| printed.contains(words)),
        "{printed}"
    );
    let (done, printed) = cluster.command(leader, &["cluster", "status"]).await?;
    assert!(!done && printed.contains("majority"), "{printed}");
    Ok(())
}
