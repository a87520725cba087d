//! A node whose log is damaged is taken out, made new, and taken back.

use std::collections::BTreeSet;
use std::path::Path;

use outrigger_log::cluster::{Identity, Leadership, Start};
use outrigger_log::{DirectoryError, OpenError, WalOpenError};

use crate::harness::{Cluster, bodies, eventually, send, topic};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_log_is_set_aside_and_the_node_gets_everything_again() {
    let cluster = Cluster::of_three().await;
    let (id, leader) = cluster.leader().await;
    let topic = topic(&leader).await;
    let text = "x".repeat(1_000);
    for _ in 0..60 {
        let commands = (0..20).map(|_| send(topic, &text)).collect();
        leader.submit(commands).unwrap().await.unwrap();
    }
    cluster.agree().await;
    let damaged = 1 + id % 3;
    let path = cluster.path(damaged);
    let member = leader.members().voters[&damaged].clone();
    cluster.stop(damaged).await;
    damage(&path.join("wal"));

    let error = cluster.start(damaged, Start::Wait).await.unwrap_err();
    let expected = matches!(error, OpenError::Wal(WalOpenError::CorruptSegment { .. }));
    assert!(expected, "{error}");
    let aside = Identity::set_aside(&path).unwrap();
    assert!(aside.join("wal").is_dir() && aside.join("groups/0/derived").is_dir());
    // However it is started, it keeps out.
    let error = cluster.start(damaged, Start::Wait).await.unwrap_err();
    let repairing = matches!(
        error,
        OpenError::Directory(DirectoryError::Repairing { .. })
    );
    assert!(repairing, "{error}");
    leader
        .submit(vec![send(topic, "meanwhile")])
        .unwrap()
        .await
        .unwrap();

    // First the others commit that it is no member, so that nothing depends on what it forgot.
    let others: BTreeSet<_> = (1..=3).filter(|other| *other != damaged).collect();
    leader.set_voters(others).await.unwrap();
    let identity = Identity::readmitted(&path).unwrap();
    assert_eq!(identity.instance, member.instance);
    let repaired = cluster.start(damaged, Start::Wait).await.unwrap();
    let alone = matches!(
        &*repaired.leadership().borrow(),
        Leadership::Following {
            leader: None,
            term: 0
        }
    );
    assert!(alone, "it takes part before it is asked to");
    assert_eq!(repaired.status().durable_index, 0);
    leader.add_learner(damaged, member).await.unwrap();
    eventually("the node has everything again", || {
        let applied = leader.status().applied_index;
        let replicas = leader.replication();
        let caught_up = |replica: &outrigger_log::cluster::Replica| {
            replica.id == damaged && replica.matched_index == applied
        };
        replicas.iter().any(caught_up)
    })
    .await;
    leader.set_voters(BTreeSet::from([1, 2, 3])).await.unwrap();
    cluster.agree().await;
    assert_eq!(bodies(&repaired).len(), 1_201);

    // Its vote counts again: without it there would be no majority.
    let third = (1..=3).find(|other| ![id, damaged].contains(other));
    cluster.stop(third.unwrap()).await;
    leader
        .submit(vec![send(topic, "last")])
        .unwrap()
        .await
        .unwrap();
    cluster.agree().await;
}

/// Flips a bit in what the oldest segment, which is full, says of its content.
fn damage(wal: &Path) {
    let files = std::fs::read_dir(wal).unwrap();
    let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    files.retain(|path| path.is_file());
    files.sort();
    let mut bytes = std::fs::read(&files[0]).unwrap();
    let trailer = bytes.len() - 16;
    let last = bytes[..trailer].iter().rposition(|byte| *byte != 0);
    bytes[last.unwrap()] ^= 1;
    std::fs::write(&files[0], bytes).unwrap();
}
