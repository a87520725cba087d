//! To whom leadership is offered, and when.

use std::sync::Arc;
use std::time::Duration;

use super::fake::Counting;
use super::voters::{PATIENCE, TIMING, Voters};
use crate::cluster::{Leadership, MembershipError, Replica};
use crate::raft::control::TRANSFER_MS_MAX;
use crate::raft::node::Node;
use crate::wal::OsDisk;
use crate::wal::disk::Disk;

/// So often a node that stands still may lose the lead by itself.
const ELECTIONS_MAX: usize = 5;

async fn voters() -> Voters {
    let os = || Arc::new(OsDisk) as Arc<dyn Disk>;
    Voters::start([os(), os(), os()]).await
}

fn leads_in(node: &Node<Counting>, term: u64) -> bool {
    *node.leadership().borrow() == Leadership::Leading { term }
}

async fn eventually(what: &str, done: impl Fn() -> bool) {
    let limit = tokio::time::Instant::now() + PATIENCE;
    while !done() {
        assert!(tokio::time::Instant::now() < limit, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A leader that was replaced and leads again while it offers its lead has got another one: what
/// was proposed in that need not be where the successor is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_offered_is_the_lead_of_one_term() {
    let voters = voters().await;
    voters.send(0).await;
    for _ in 0..ELECTIONS_MAX {
        let leader = voters.led_by(1).await;
        let term = leader.status().term;
        let refused = leader.offer((2, true), term - 1).await;
        let successor = leader.matched_successor(Some(2), term - 1).await;
        if leads_in(&leader, term) {
            let not_taken = MembershipError::NotTaken {
                id: 2,
                waited_ms: TRANSFER_MS_MAX,
            };
            assert_eq!(refused, Err(not_taken));
            assert_eq!(successor, Err(MembershipError::NotLeader { leader: None }));
            voters.send(1).await;
            voters.agree(&[0, 1]).await;
            return;
        }
    }
    panic!("it gave away what is its own");
}

/// It has all entries, so nothing but its silence tells that it would not lead.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_successor_that_is_not_heard_is_offered_nothing() {
    let mut voters = voters().await;
    let mut number = 0;
    loop {
        let leader = voters.led_by(1).await;
        let term = leader.status().term;
        voters.send(number).await;
        let replica = || -> Option<Replica> {
            let replicas = leader.replication();
            replicas.into_iter().find(|replica| replica.id == 3)
        };
        let has_all = || {
            let matched = replica().map_or(0, |replica| replica.matched_index);
            leader.status().applied_index == Some(matched)
        };
        eventually("it has all entries", || {
            has_all() || !leads_in(&leader, term)
        })
        .await;
        voters.crash(3).await;
        let heard_ms = || replica().and_then(|replica| replica.last_heard_ms);
        let silent = || heard_ms().is_none_or(|ms| ms >= TIMING.election_timeout_ms);
        eventually("it is not heard", silent).await;
        let refused = leader.transfer_leadership(Some(3)).await;
        let is_refused = matches!(refused, Err(MembershipError::NotLeader { .. }));
        let is_replaced = || is_refused || !leads_in(&leader, term);
        if !is_replaced() {
            assert_eq!(refused, Err(MembershipError::NoSuccessor));
            // It leads on as if nothing had been.
            eventually("it has a lease", || leader.has_lease() || is_replaced()).await;
        }
        voters.reopen(3).await;
        number += 1;
        // On a machine that stood still the others have elected somebody meanwhile.
        if !is_replaced() {
            break;
        }
    }
    voters.agree(&(0..number).collect::<Vec<_>>()).await;
}
