//! Who is not let in, and what is not believed.

use std::time::Duration;

use outrigger_proto::cluster::{
    AdoptRequest, Frame, HandshakeRequest, Node, peers_client::PeersClient,
};
use outrigger_sdk::Message;
use outrigger_tests::cluster::Cluster;
use tokio::{io::AsyncWriteExt as _, net::TcpStream};
use tonic::{Code, Request};

use crate::load::{client, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_of_another_cluster_is_refused_by_both_sides() -> anyhow::Result<()> {
    let mut one = Cluster::start(3).await?;
    let mut other = Cluster::start(1).await?;
    let sent = client(other.uri(1)).await;
    sent.producer("p")
        .send(Message::new("topic", "foreign"))
        .await?;
    drop(sent);
    other.kill(1)?;
    // Its data under the address of a member of the first cluster.
    one.kill(1)?;
    std::fs::rename(one.data(1), one.directory().join("kept"))?;
    std::fs::rename(other.data(1), one.data(1))?;
    one.spawn(1)?;
    // The other one leads its own cluster, of which it is the only member.
    let leads = async |id| {
        let status = one.status(id).await;
        status.is_ok_and(|status| status.leader == id && status.members.len() == 3)
    };
    eventually("the others have a leader", async || {
        leads(2).await || leads(3).await
    })
    .await;
    let leader = if leads(2).await { 2 } else { 3 };
    for id in [leader, 1] {
        one.printed(id, "belongs to cluster").await?;
    }
    let good = client(one.uri(leader)).await;
    good.producer("p")
        .send(Message::new("topic", "own"))
        .await?;
    one.agree(&[2, 3]).await?;
    let topic = good.admin().topic("topic").await?;
    let stored: u64 = topic.queues.iter().map(|queue| queue.next_offset).sum();
    assert_eq!(stored, 1);

    // The right data is welcome again.
    one.kill(1)?;
    std::fs::rename(one.data(1), one.directory().join("foreign"))?;
    std::fs::rename(one.directory().join("kept"), one.data(1))?;
    one.start_node(1).await?;
    one.agree(&[1, 2, 3]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_doubled_number_is_refused() -> anyhow::Result<()> {
    let mut cluster = Cluster::start(3).await?;
    cluster.make(9)?;
    cluster.spawn_as(9, 2)?;
    let status = cluster.ended(9).await?;
    assert!(!status.success());
    let printed = cluster.output(9);
    assert!(printed.contains("two nodes have the number 2"), "{printed}");
    let sent = client(cluster.uri(2)).await;
    sent.producer("p").send(Message::new("topic", "on")).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_on_the_peer_port_changes_nothing() -> anyhow::Result<()> {
    let cluster = Cluster::start(3).await?;
    let sent = client(cluster.uri(1)).await;
    sent.producer("p")
        .send(Message::new("topic", "before"))
        .await?;
    for id in cluster.ids() {
        let mut raw = TcpStream::connect(cluster.peer(id)).await?;
        raw.write_all(&[0xff; 4_096]).await?;
        drop(raw);
        let mut peers = PeersClient::connect(format!("http://{}", cluster.peer(id))).await?;
        let nameless = peers.handshake(HandshakeRequest::default()).await;
        assert_eq!(nameless.unwrap_err().code(), Code::InvalidArgument);
        let newer = HandshakeRequest {
            from: Some(Node {
                id: 7,
                instance: vec![7; 16].into(),
                ..Node::default()
            }),
            protocol_min: 1_000,
            protocol_max: 1_001,
            ..HandshakeRequest::default()
        };
        let newer = peers.handshake(newer).await.unwrap_err();
        assert_eq!(newer.code(), Code::FailedPrecondition);
        assert!(newer.message().contains("protocol 1000 to 1001"), "{newer}");
        let adopted = AdoptRequest {
            cluster_id: "elsewhere".to_owned(),
            node_id: id,
            instance: vec![7; 16].into(),
            ..AdoptRequest::default()
        };
        assert!(peers.adopt(adopted).await.is_err());
        let headless = tokio_stream::iter([Frame::default()]);
        assert!(peers.exchange(headless).await.is_err());

        // With a heading that fits, but frames that are none.
        let me = peers
            .handshake(known(&cluster, id).await?)
            .await?
            .into_inner();
        for purpose in ["append", "call", "checkpoint"] {
            let frames = [vec![], vec![0xff; 100], vec![0; 1_000]];
            let frames = frames.map(|content| Frame {
                content: content.into(),
            });
            let mut request = Request::new(tokio_stream::iter(frames));
            let node = me.node.clone().unwrap_or_default();
            let from = me.members.iter().find(|member| member.id != id).cloned();
            let from = from.unwrap_or_default();
            let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
            for (key, value) in [
                ("outrigger-cluster", me.cluster_id.clone()),
                ("outrigger-from", from.id.to_string()),
                ("outrigger-from-instance", hex(&from.instance)),
                ("outrigger-to", id.to_string()),
                ("outrigger-to-instance", hex(&node.instance)),
                ("outrigger-group", "0".to_owned()),
                ("outrigger-purpose", purpose.to_owned()),
            ] {
                request.metadata_mut().insert(key, value.parse()?);
            }
            let answers = peers.exchange(request).await?;
            let mut answers = answers.into_inner();
            // Whatever it says, it ends, and does not take the process along.
            let ended = async { while let Ok(Some(_)) = answers.message().await {} };
            tokio::time::timeout(Duration::from_secs(30), ended).await?;
        }
    }
    sent.producer("p")
        .send(Message::new("topic", "after"))
        .await?;
    cluster.agree(&[1, 2, 3]).await?;
    for id in cluster.ids() {
        assert!(cluster.readiness(id).await?.0);
    }
    Ok(())
}

/// A handshake that a node of the cluster could have sent.
async fn known(cluster: &Cluster, to: u64) -> anyhow::Result<HandshakeRequest> {
    let status = cluster.status(to).await?;
    let mut nodes = status.members.into_iter().filter_map(|member| member.node);
    Ok(HandshakeRequest {
        from: nodes.find(|node| node.id != to),
        cluster_id: status.cluster_id,
        protocol_min: 1,
        protocol_max: 1,
        ..HandshakeRequest::default()
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_right_is_refused_at_the_start() -> anyhow::Result<()> {
    for (number, peers, named) in [
        (0, "1=127.0.0.1:7071", vec!["cluster.id is 0", "1 to"]),
        (1, "", vec!["cluster.peers"]),
        (
            1,
            "1=127.0.0.1:7071,1=127.0.0.1:7072",
            vec!["node 1 is there twice"],
        ),
        (
            1,
            "1=127.0.0.1:7071,2=127.0.0.1:7071",
            vec!["nodes 1 and 2 have the address"],
        ),
        (1, "1=127.0.0.1:0", vec!["1 to 65535"]),
    ] {
        let mut cluster = Cluster::prepare(1, "")?;
        cluster.set_peers(peers);
        cluster.spawn_as(1, number)?;
        let status = cluster.ended(1).await?;
        let printed = cluster.output(1);
        assert!(!status.success(), "{printed}");
        for words in named {
            assert!(
                printed.contains(words),
                "{words:?} is missing from {printed}"
            );
        }
    }
    Ok(())
}
