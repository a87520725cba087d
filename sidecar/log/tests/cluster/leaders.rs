//! Leaders come and go, and nothing that was acknowledged is lost.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use outrigger_log::SubmitError;
use outrigger_log::cluster::{MembershipError, Replica, Start};

use crate::harness::{Cluster, bodies, eventually, is_follower_of, send, topic, write};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_voters_have_the_same() {
    let cluster = Cluster::of_three().await;
    let (id, leader) = cluster.leader().await;
    let topic = topic(&leader).await;
    for round in 0..50 {
        let commands = (0..40).map(|number| send(topic, &format!("{round} {number}")));
        leader.submit(commands.collect()).unwrap().await.unwrap();
    }
    assert!(leader.has_lease());
    leader.confirm_leadership().await.unwrap();
    leader.read_barrier().await.unwrap();
    cluster.agree().await;
    assert_eq!(bodies(&leader).len(), 2_000);
    for other in cluster.ids() {
        let log = cluster.log(other);
        let members = log.members();
        assert_eq!(
            members.voters.keys().copied().collect::<Vec<_>>(),
            [1, 2, 3]
        );
        assert!(members.learners.is_empty() && !members.joint);
        if other != id {
            assert!(is_follower_of(&log, id));
            assert!(!log.has_lease());
            let refused = log.submit(vec![send(topic, "late")]).unwrap_err();
            assert_eq!(refused, SubmitError::NotLeader { leader: Some(id) });
        }
    }
    let applied = leader.status().applied_index;
    // A majority is enough to apply; the last answer may come a little later.
    eventually("the leader knows that all nodes have everything", || {
        let replicas = leader.replication();
        let has_all = |replica: &Replica| replica.matched_index == applied;
        replicas.len() == 3 && replicas.iter().all(has_all)
    })
    .await;
    let replicas = leader.replication();
    assert!(
        replicas
            .iter()
            .all(|replica| replica.last_heard_ms.is_some())
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_reads_what_was_acknowledged_before() {
    let cluster = Cluster::of_three().await;
    let (id, leader) = cluster.leader().await;
    let topic = topic(&leader).await;
    let follower = cluster.log(
        cluster
            .ids()
            .into_iter()
            .find(|other| *other != id)
            .unwrap(),
    );
    eventually("the follower knows who leads", || {
        is_follower_of(&follower, id)
    })
    .await;
    for number in 0..30 {
        let sent = vec![send(topic, &number.to_string())];
        leader.submit(sent).unwrap().await.unwrap();
        follower.read_barrier().await.unwrap();
        assert_eq!(bodies(&follower).len(), number + 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_dies_under_load_takes_nothing_along() {
    let cluster = Arc::new(Cluster::of_three().await);
    let (_, leader) = cluster.leader().await;
    topic(&leader).await;
    drop(leader);
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..8)
        .map(|writer| tokio::spawn(write(Arc::clone(&cluster), writer, Arc::clone(&stop))))
        .collect();
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let (id, leader) = cluster.leader().await;
        drop(leader);
        cluster.kill(id).await;
        cluster.leader_besides(&[id]).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        cluster.start(id, Start::Wait).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    stop.store(true, Ordering::SeqCst);
    let mut acknowledged = Vec::new();
    for writer in writers {
        acknowledged.extend(writer.await.unwrap());
    }
    assert!(acknowledged.len() > 100, "{}", acknowledged.len());
    cluster.agree().await;
    let (_, leader) = cluster.leader().await;
    let kept = bodies(&leader);
    let kept: BTreeSet<_> = kept.iter().map(|body| body.as_ref()).collect();
    assert_eq!(
        kept.len(),
        bodies(&leader).len(),
        "a message is there twice"
    );
    for text in &acknowledged {
        assert!(kept.contains(text.as_bytes()), "{text} is lost");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_nobody_hears_takes_nothing_and_does_not_answer_reads() {
    let cluster = Cluster::of_three().await;
    let (old, leader) = cluster.leader().await;
    let topic = topic(&leader).await;
    cluster.network.isolate(old);
    // Taken while it still thought that it leads: nobody knows.
    let unknown = leader.submit(vec![send(topic, "perhaps")]).unwrap();
    let (new, successor) = cluster.leader_besides(&[old]).await;
    assert!(!leader.has_lease(), "two nodes answer reads");
    let sent = vec![send(topic, "after")];
    successor.submit(sent).unwrap().await.unwrap();
    assert!(leader.confirm_leadership().await.is_err());
    assert_eq!(unknown.await, Err(SubmitError::OutcomeUnknown));
    eventually("the old leader steps back", || {
        !leader.leadership().borrow().is_leading()
    })
    .await;
    let refused = leader.submit(vec![send(topic, "late")]).unwrap_err();
    assert!(
        matches!(refused, SubmitError::NotLeader { .. }),
        "{refused}"
    );
    assert_eq!(leader.in_flight_bytes(), 0);

    cluster.network.heal();
    eventually("the old leader follows the new one", || {
        is_follower_of(&leader, new)
    })
    .await;
    cluster.agree().await;
    assert_eq!(bodies(&leader), ["after"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_is_handed_over() {
    let cluster = Cluster::of_three().await;
    let (old, leader) = cluster.leader().await;
    let topic = topic(&leader).await;
    let to = 1 + old % 3;
    assert_eq!(leader.transfer_leadership(Some(to)).await, Ok(to));
    assert!(!leader.has_lease());
    let (new, successor) = cluster.leader_besides(&[old]).await;
    assert_eq!(new, to);
    successor
        .submit(vec![send(topic, "one")])
        .unwrap()
        .await
        .unwrap();
    let chosen = successor.transfer_leadership(None).await.unwrap();
    assert_ne!(chosen, new);
    let (third, successor) = cluster.leader_besides(&[new]).await;
    assert_eq!(third, chosen);
    successor
        .submit(vec![send(topic, "two")])
        .unwrap()
        .await
        .unwrap();
    cluster.agree().await;
    assert_eq!(bodies(&successor), ["one", "two"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_is_handed_over_under_load() {
    let cluster = Arc::new(Cluster::of_three().await);
    let (_, leader) = cluster.leader().await;
    topic(&leader).await;
    drop(leader);
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..8)
        .map(|writer| tokio::spawn(write(Arc::clone(&cluster), writer, Arc::clone(&stop))))
        .collect();
    let mut led = BTreeSet::new();
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let (old, leader) = cluster.leader().await;
        let to = 1 + old % 3;
        assert_eq!(leader.transfer_leadership(Some(to)).await, Ok(to));
        led.insert(cluster.leader_besides(&[old]).await.0);
    }
    assert_eq!(led.len(), 3);
    stop.store(true, Ordering::SeqCst);
    let mut acknowledged = 0;
    for writer in writers {
        acknowledged += writer.await.unwrap().len();
    }
    cluster.agree().await;
    let (_, leader) = cluster.leader().await;
    assert!(bodies(&leader).len() >= acknowledged);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_successor_lacks_entries_goes_on() {
    let cluster = Cluster::of_three().await;
    let (id, leader) = cluster.leader().await;
    let topic = topic(&leader).await;
    let term = leader.status().term;
    let to = 1 + id % 3;
    cluster.network.isolate(to);
    let sent = vec![send(topic, "before")];
    leader.submit(sent).unwrap().await.unwrap();
    let refused = leader.transfer_leadership(Some(to));
    // What comes meanwhile waits, and is taken in the end.
    let meanwhile = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        leader.submit(vec![send(topic, "meanwhile")]).unwrap().await
    };
    let (refused, meanwhile) = tokio::join!(refused, meanwhile);
    let refused = refused.unwrap_err();
    assert!(
        matches!(refused, MembershipError::Behind { id, .. } if id == to),
        "{refused}"
    );
    meanwhile.unwrap();
    assert!(leader.leadership().borrow().is_leading());
    assert_eq!(leader.status().term, term);
    leader.confirm_leadership().await.unwrap();
    cluster.network.heal();
    cluster.agree().await;
    assert_eq!(bodies(&leader), ["before", "meanwhile"]);
    assert_eq!(leader.transfer_leadership(Some(to)).await, Ok(to));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_hears_nobody_gives_way_to_those_who_hear_it() {
    let cluster = Cluster::of_three().await;
    let (old, leader) = cluster.leader().await;
    let topic = topic(&leader).await;
    // What is not answered is sent again and again, and here that gets through.
    eventually("all nodes have answered", || {
        let (replicas, applied) = (leader.replication(), leader.status().applied_index);
        replicas
            .iter()
            .all(|replica| replica.matched_index == applied)
    })
    .await;
    cluster.network.deafen(old);
    let (_, successor) = cluster.leader_besides(&[old]).await;
    assert!(!leader.has_lease(), "two nodes answer reads");
    let sent = vec![send(topic, "after")];
    successor.submit(sent).unwrap().await.unwrap();
    eventually("the old leader steps back", || {
        !leader.leadership().borrow().is_leading()
    })
    .await;
    cluster.network.heal();
    cluster.agree().await;
    assert_eq!(bodies(&successor), ["after"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_are_stopped_and_started_again() {
    let cluster = Cluster::of_three().await;
    let (_, leader) = cluster.leader().await;
    let topic = topic(&leader).await;
    leader
        .submit(vec![send(topic, "one")])
        .unwrap()
        .await
        .unwrap();
    drop(leader);
    for id in [1, 2, 3] {
        cluster.stop(id).await;
    }
    for id in [1, 2, 3] {
        cluster.start(id, Start::Wait).await.unwrap();
    }
    let (_, leader) = cluster.leader().await;
    leader
        .submit(vec![send(topic, "two")])
        .unwrap()
        .await
        .unwrap();
    cluster.agree().await;
    assert_eq!(bodies(&leader), ["one", "two"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_stops_in_order_has_a_successor_at_once() {
    let cluster = Cluster::of_three().await;
    let (id, leader) = cluster.leader().await;
    let topic = topic(&leader).await;
    let sent = (0..100).map(|number| leader.submit(vec![send(topic, &number.to_string())]));
    let sent: Vec<_> = sent.map(Result::unwrap).collect();
    drop(leader);
    cluster.stop(id).await;
    for pending in sent {
        pending.await.unwrap();
    }
    let others: Vec<_> = cluster
        .ids()
        .into_iter()
        .map(|id| cluster.log(id))
        .collect();
    let leads = |log: &outrigger_log::Log| log.leadership().borrow().is_leading();
    // The successor led before the old one had closed its files.
    assert!(others.iter().any(leads));
    cluster.agree().await;
    assert_eq!(bodies(&others[0]).len(), 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn state_that_is_ahead_of_the_log_is_made_again() {
    let cluster = Cluster::of_three().await;
    let (id, leader) = cluster.leader().await;
    let topic = topic(&leader).await;
    let behind = 1 + id % 3;
    let wal = cluster.path(behind).join("wal");
    let old = cluster.path(behind).join("old");
    leader
        .submit(vec![send(topic, "one")])
        .unwrap()
        .await
        .unwrap();
    cluster.agree().await;
    cluster.stop(behind).await;
    copy(&wal, &old);
    cluster.start(behind, Start::Wait).await.unwrap();
    for number in 0..100 {
        let sent = vec![send(topic, &number.to_string())];
        leader.submit(sent).unwrap().await.unwrap();
    }
    cluster.agree().await;
    // This writes its state.
    cluster.stop(behind).await;
    std::fs::remove_dir_all(&wal).unwrap();
    std::fs::rename(&old, &wal).unwrap();
    let log = cluster.start(behind, Start::Wait).await.unwrap();
    cluster.agree().await;
    assert_eq!(bodies(&log).len(), 101);
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        if file.file_type().unwrap().is_file() {
            std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
        }
    }
}
