//! Nodes come and go.

use std::collections::BTreeSet;

use outrigger_log::cluster::{MembershipError, Start};

use crate::harness::{Cluster, bodies, eventually, send, topic};

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
