//! Nodes come and go.

use std::collections::BTreeSet;
use std::path::Path;

use outrigger_log::cluster::{MembershipError, Start};
use outrigger_log::{Command, Options, Outcome, TransactionId};

use crate::harness::{Cluster, bodies, eventually, options, send, topic};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_is_added_catches_up_votes_and_replaces_another() {
    let cluster = Cluster::of_three().await;
    let (id, leader) = cluster.leader().await;
    let topic = topic(&leader).await;
    for round in 0..40 {
        let commands = (0..100).map(|number| send(topic, &format!("{round} {number}")));
        leader.submit(commands.collect()).unwrap().await.unwrap();
    }
    let member = cluster.adopt(4);
    let added = cluster.start(4, Start::Wait).await.unwrap();
    leader.add_learner(4, member.clone()).await.unwrap();
    leader.add_learner(4, member.clone()).await.unwrap();
    let mut other = member;
    other.instance ^= 1;
    let refused = leader.add_learner(4, other).await;
    assert_eq!(refused, Err(MembershipError::Exists { id: 4 }));
    assert!(leader.members().learners.contains_key(&4));
    eventually("the new node has everything", || {
        let applied = leader.status().applied_index;
        leader
            .replication()
            .iter()
            .any(|replica| replica.id == 4 && replica.matched_index == applied)
    })
    .await;

    let refused = leader.set_voters(BTreeSet::from([1, 7])).await;
    assert_eq!(refused, Err(MembershipError::Unknown { id: 7 }));
    let refused = leader.set_voters(BTreeSet::new()).await;
    assert_eq!(refused, Err(MembershipError::NoVoters));
    let out = 1 + id % 3;
    let voters: BTreeSet<_> = (1..=4).filter(|voter| *voter != out).collect();
    leader.set_voters(voters.clone()).await.unwrap();
    let members = leader.members();
    assert!(!members.joint && members.learners.is_empty());
    assert!(members.voters.keys().eq(&voters));
    let removed = cluster.log(out);
    let error = removed.set_voters(BTreeSet::from([out])).await.unwrap_err();
    assert!(
        matches!(error, MembershipError::NotLeader { .. }),
        "{error}"
    );
    drop(removed);
    cluster.kill(out).await;

    // Without the new voter's vote there would be no majority.
    drop(leader);
    cluster.stop(id).await;
    let (_, leader) = cluster.leader().await;
    leader
        .submit(vec![send(topic, "last")])
        .unwrap()
        .await
        .unwrap();
    cluster.agree().await;
    assert_eq!(bodies(&added).len(), 4_001);
}

/// Little of the log is kept.
fn forgetful(directory: &Path) -> Options {
    Options {
        wal_segment_bytes: 64 << 10,
        wal_first_segment_bytes: 16 << 10,
        entry_bytes_max: 16 << 10,
        entry_bytes_target: 4 << 10,
        checkpoint_interval_ms: 50,
        retention_bytes: Some(256 << 10),
        retention_interval_ms: 50,
        ..options(directory)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_joins_although_the_beginning_of_the_log_is_gone() {
    let cluster = Cluster::of_three_with(forgetful).await;
    let (_, leader) = cluster.leader().await;
    let topic = topic(&leader).await;
    let mut round = 0;
    let gone = |id: u64| {
        let first = cluster.path(id).join("wal").read_dir().unwrap();
        !first
            .flatten()
            .any(|file| file.file_name().to_string_lossy().contains("00000001."))
    };
    while !(1..=3).all(gone) {
        assert!(round < 2_000, "nothing is removed");
        let text = |number| format!("{round} {number} {}", "x".repeat(900));
        let commands = (0..20).map(|number| send(topic, &text(number)));
        leader.submit(commands.collect()).unwrap().await.unwrap();
        round += 1;
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    // Something that is not in a queue.
    let Command::Send { message, .. } = send(topic, "half") else {
        panic!("a message");
    };
    let prepare = Command::Prepare {
        id: TransactionId(9),
        producer_group: "orders".to_owned(),
        fingerprint: 1,
        messages: vec![message],
    };
    let outcomes = leader.submit(vec![prepare]).unwrap().await.unwrap();
    assert_eq!(outcomes, [Outcome::Prepared { repeated: false }]);
    let member = cluster.adopt(4);
    let added = cluster.start(4, Start::Wait).await.unwrap();
    leader.add_learner(4, member).await.unwrap();
    leader
        .set_voters(BTreeSet::from([1, 2, 3, 4]))
        .await
        .unwrap();
    cluster.agree().await;
    let (first, next) = added.queue_bounds(topic, 0);
    assert!(first > 0 && next == round * 20, "{first} {next}");
    assert_eq!(bodies(&added).len() as u64, next - first);

    // It goes on from what it has got.
    drop(added);
    cluster.stop(4).await;
    cluster.start(4, Start::Wait).await.unwrap();
    cluster.agree().await;
}
