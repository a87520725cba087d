//! Three voters whose disks lose what was not synced: what must be so, or acknowledged entries
//! are lost.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::mpsc;

use super::fake::{Counting, Seen, Writing};
use super::restart::{floors, numbers, options, send};
use crate::cluster::{
    ClusterOptions, Exchange, Member, OpenExchange, Purpose, PurposeKind, Start, Transport,
};
use crate::raft::node::Node;
use crate::raft::{LogId, NodeOptions, Timing};
use crate::submit::SubmitError;
use crate::wal::disk::Disk;
use crate::wal::tests::faulty::FaultyDisk;
use crate::wal::tests::held::HeldDisk;
use crate::wal::{OsDisk, Wal, WalOptions};

pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// Nobody is taken for dead because the machine does something else.
pub(super) const TIMING: Timing = Timing {
    heartbeat_interval_ms: 150,
    election_timeout_ms: 800,
};

type Nodes = Arc<Mutex<BTreeMap<u64, Arc<Node<Counting>>>>>;

/// How often a node was tried in vain, to send it entries.
type Tries = Arc<Mutex<BTreeMap<u64, u64>>>;

struct Wire {
    nodes: Nodes,
    own: u64,
    tries: Tries,
}

impl Transport for Wire {
    fn open(&self, target: u64, _member: &Member, purpose: Purpose) -> OpenExchange {
        let node = self.nodes.lock().unwrap().get(&target).cloned();
        let own = self.own;
        if node.is_none() && purpose.kind == PurposeKind::Append {
            *self.tries.lock().unwrap().entry(target).or_default() += 1;
        }
        Box::pin(async move {
            let node = node.ok_or(std::io::ErrorKind::NotConnected)?;
            let (frames, there) = mpsc::channel(16);
            let answers = node.serve_peer(own, purpose, there);
            Ok(Exchange { frames, answers })
        })
    }
}

pub(super) struct Voters {
    directory: TempDir,
    nodes: Nodes,
    seen: BTreeMap<u64, Seen>,
    fatal: Arc<Mutex<Vec<String>>>,
    tries: Tries,
}

impl Voters {
    /// Three nodes that have formed a group, each on a disk of its own.
    pub(super) async fn start(disks: [Arc<dyn Disk>; 3]) -> Self {
        let mut voters = Self {
            directory: tempfile::tempdir().unwrap(),
            nodes: Nodes::default(),
            seen: BTreeMap::new(),
            fatal: Arc::default(),
            tries: Tries::default(),
        };
        let members = (1..=3).map(|id| (id, Member::default())).collect();
        let mut begin = Start::Form(members);
        for (id, disk) in (1..=3).zip(disks) {
            let start = std::mem::replace(&mut begin, Start::Wait);
            voters.open(id, disk, start, Counting::default()).await;
        }
        voters
    }

    fn path(&self, id: u64) -> PathBuf {
        self.directory.path().join(id.to_string())
    }

    async fn open(&mut self, id: u64, disk: Arc<dyn Disk>, start: Start, state: Counting) {
        let path = self.path(id);
        std::fs::create_dir_all(&path).unwrap();
        let options_of_log = WalOptions {
            segment_bytes: 256 << 10,
            first_segment_bytes: 64 << 10,
            tail_cache_bytes_max: 64 << 10,
            owner: id,
        };
        let fatal = Arc::clone(&self.fatal);
        let told = Arc::new(move |error: &std::io::Error| {
            fatal.lock().unwrap().push(error.to_string());
        });
        let wal = Arc::new(Wal::open(&path, options_of_log, disk, told).unwrap());
        let (nodes, seen) = (Arc::clone(&self.nodes), Arc::clone(&state.seen));
        let tries = Arc::clone(&self.tries);
        let transport = Arc::new(Wire {
            nodes,
            own: id,
            tries,
        });
        let options = NodeOptions {
            node_id: id,
            cluster: Some(ClusterOptions { transport, start }),
            timing: TIMING,
            ..options()
        };
        let node = Arc::new(
            Node::start(options, wal, state, floors(&self.path(id)))
                .await
                .unwrap(),
        );
        self.seen.insert(id, seen);
        self.nodes.lock().unwrap().insert(id, node);
    }

    /// Goes on with what is on the disk.
    pub(super) async fn reopen(&mut self, id: u64) {
        let disk = Arc::new(OsDisk);
        self.open(id, disk, Start::Wait, Counting::default()).await;
    }

    pub(super) fn node(&self, id: u64) -> Arc<Node<Counting>> {
        Arc::clone(&self.nodes.lock().unwrap()[&id])
    }

    /// Ends a node at once; nothing is written any more.
    pub(super) async fn crash(&mut self, id: u64) {
        let node = self.nodes.lock().unwrap().remove(&id).unwrap();
        node.raft.shutdown().await.unwrap();
    }

    async fn leader(&self) -> u64 {
        let found = || {
            let nodes = self.nodes.lock().unwrap();
            let leads = |node: &Node<Counting>| node.leadership().borrow().is_leading();
            nodes
                .iter()
                .find(|(_, node)| leads(node))
                .map(|(id, _)| *id)
        };
        let waited = async {
            loop {
                if let Some(id) = found() {
                    return id;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waited)
            .await
            .expect("a leader")
    }

    /// Makes one of the nodes the leader.
    pub(super) async fn led_by(&self, id: u64) -> Arc<Node<Counting>> {
        loop {
            let leader = self.leader().await;
            if leader == id {
                return self.node(id);
            }
            let _ = self.node(leader).transfer_leadership(Some(id)).await;
        }
    }

    /// Has something acknowledged, by whoever leads.
    pub(super) async fn send(&self, number: u32) {
        let sent = async {
            loop {
                let leader = self.node(self.leader().await);
                let answer = match leader.submit(vec![send(number)]) {
                    Ok(pending) => pending.await.map(drop),
                    Err(error) => Err(error),
                };
                match answer {
                    Ok(()) => return,
                    Err(SubmitError::NotLeader { .. } | SubmitError::OutcomeUnknown) => {}
                    Err(error) => panic!("{error}"),
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(PATIENCE, sent)
            .await
            .expect("an answer");
    }

    /// All nodes have applied the same entries at the same places, these messages among them.
    pub(super) async fn agree(&self, acknowledged: &[u32]) {
        let same = || {
            let seen: Vec<_> = self.nodes.lock().unwrap().keys().copied().collect();
            let all: Vec<_> = seen
                .iter()
                .map(|id| self.seen[id].lock().unwrap().clone())
                .collect();
            let has_all = |seen: &Seen| {
                let found = numbers(seen);
                acknowledged.iter().all(|number| found.contains(number))
            };
            all.iter().all(|one| *one == all[0]) && seen.iter().all(|id| has_all(&self.seen[id]))
        };
        let waited = async {
            while !same() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if tokio::time::timeout(PATIENCE, waited).await.is_err() {
            for (id, seen) in &self.seen {
                eprintln!("node {id}: {:?}", numbers(seen));
            }
            panic!("the nodes differ, or {acknowledged:?} is not there");
        }
    }
}

/// A leader that has committed through the others, before its own log was durable, does not go
/// on in its term: it would give the index of what it lost to something else. And its state,
/// which had seen more than what is left of its log, is made again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_lost_what_it_acknowledged_gives_no_index_twice() {
    let disk = HeldDisk::default();
    let on_disk = Arc::new(disk.clone());
    let mut voters = Voters::start([on_disk, Arc::new(OsDisk), Arc::new(OsDisk)]).await;
    let leader = voters.led_by(1).await;
    voters.send(0).await;
    disk.hold();
    leader.submit(vec![send(1)]).unwrap().await.unwrap();
    let applied = leader.status().applied_index.unwrap();
    assert!(
        leader.status().durable_index < Some(applied),
        "nothing would be lost"
    );
    let term = leader.status().term;
    drop(leader);
    disk.lose_all_but(0);
    voters.crash(1).await;

    let state = Counting {
        applied: Some(LogId::new_term_index(term, applied)),
        ..Counting::default()
    };
    let resets = Arc::clone(&state.resets);
    voters.open(1, Arc::new(OsDisk), Start::Wait, state).await;
    assert_eq!(*resets.lock().unwrap(), 1);
    voters.send(2).await;
    voters.agree(&[0, 1, 2]).await;
    let kept = voters.node(1);
    assert!(kept.status().term > term);
}

/// Any node loses power at any moment; what is left of its last writes is torn anywhere. It
/// comes back each time, whatever was written of how far the group had committed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_lose_what_was_not_synced_come_back_and_nothing_is_lost() {
    let os = || Arc::new(OsDisk) as Arc<dyn Disk>;
    let mut voters = Voters::start([os(), os(), os()]).await;
    let mut acknowledged = Vec::new();
    for round in 0..9_u32 {
        let victim = u64::from(round) % 3 + 1;
        voters.crash(victim).await;
        let disk = HeldDisk::default();
        let on_disk = Arc::new(disk.clone());
        voters
            .open(victim, on_disk, Start::Wait, Counting::default())
            .await;
        for number in 0..10 {
            if number == 5 {
                disk.hold();
            }
            voters.send(round * 100 + number).await;
            acknowledged.push(round * 100 + number);
        }
        disk.lose_all_but(round as usize * 211);
        voters.crash(victim).await;
        voters.send(round * 100 + 50).await;
        acknowledged.push(round * 100 + 50);
        voters.reopen(victim).await;
        voters.agree(&acknowledged).await;
    }
}

/// A node whose log cannot be synced says so, and acknowledges nothing after.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_cannot_sync_is_out_and_the_others_go_on() {
    let disk = FaultyDisk::default();
    let on_disk = Arc::new(disk.clone());
    let mut voters = Voters::start([Arc::new(OsDisk), Arc::new(OsDisk), on_disk]).await;
    let leader = voters.led_by(1).await;
    voters.send(0).await;
    voters.agree(&[0]).await;
    // What is committed may be applied before this node has synced it.
    let limit = tokio::time::Instant::now() + Duration::from_secs(20);
    let durable = loop {
        let status = voters.node(3).status();
        if status.durable_index == leader.status().durable_index {
            break status.durable_index;
        }
        assert!(tokio::time::Instant::now() < limit, "{status:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    disk.fail_next_sync.store(true, Ordering::SeqCst);
    for number in 1..20 {
        voters.send(number).await;
    }
    let matched = |replicas: Vec<crate::cluster::Replica>| {
        let of_three = replicas.iter().find(|replica| replica.id == 3);
        of_three.map(|replica| replica.matched_index)
    };
    assert_eq!(matched(leader.replication()), durable);
    let fatal = voters.fatal.lock().unwrap().clone();
    assert!(
        fatal
            .iter()
            .any(|error| error.contains("the disk is broken")),
        "{fatal:?}"
    );
    assert_eq!(voters.node(3).status().durable_index, durable);
    drop(leader);
    voters.crash(3).await;
    voters.reopen(3).await;
    let all: Vec<_> = (0..20).collect();
    voters.agree(&all).await;
}

/// A node that comes back does not vote before a leader that may count on it cannot any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_comes_back_is_silent_for_as_long_as_a_lease() {
    let os = || Arc::new(OsDisk) as Arc<dyn Disk>;
    let mut voters = Voters::start([os(), os(), os()]).await;
    voters.send(0).await;
    let fresh = voters.node(2).silent_until;
    voters.crash(2).await;
    let before = tokio::time::Instant::now();
    voters.reopen(2).await;
    let silent_until = voters.node(2).silent_until;
    assert!(silent_until >= before + TIMING.lease());
    assert!(silent_until > fresh);
    voters.send(1).await;
    voters.agree(&[0, 1]).await;
}

/// A node that is gone is tried now and then, not in a loop.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_gone_is_tried_less_and_less_often() {
    const TRIES_MAX: u64 = 60;
    let os = || Arc::new(OsDisk) as Arc<dyn Disk>;
    let mut voters = Voters::start([os(), os(), os()]).await;
    let leader = voters.led_by(1).await;
    voters.send(0).await;
    voters.crash(3).await;
    let until = tokio::time::Instant::now() + Duration::from_millis(1_500);
    let mut number = 1;
    while tokio::time::Instant::now() < until {
        leader.submit(vec![send(number)]).unwrap().await.unwrap();
        number += 1;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let tries = voters.tries.lock().unwrap()[&3];
    assert!((3..TRIES_MAX).contains(&tries), "{tries} tries");
    drop(leader);
    voters.reopen(3).await;
    voters.agree(&(0..number).collect::<Vec<_>>()).await;
}

/// What was applied through the others may never be durable on a full disk. A node that stops
/// does not wait for that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_a_full_disk_stops_without_its_last_checkpoint() {
    let os = || Arc::new(OsDisk) as Arc<dyn Disk>;
    let mut voters = Voters::start([os(), os(), os()]).await;
    let leader = voters.led_by(1).await;
    voters.send(0).await;
    voters.crash(3).await;
    let disk = FaultyDisk::default();
    let writing = Arc::new(Mutex::new(Writing {
        begins: true,
        ..Writing::default()
    }));
    let state = Counting {
        writing: Arc::clone(&writing),
        ..Counting::default()
    };
    let on_disk = Arc::new(disk.clone());
    voters.open(3, on_disk, Start::Wait, state).await;
    voters.agree(&[0]).await;
    disk.full.store(true, Ordering::SeqCst);
    let node = voters.node(3);
    let limit = tokio::time::Instant::now() + PATIENCE;
    while node.status().durable_index.unwrap() + 3 > node.status().applied_index.unwrap() {
        assert!(tokio::time::Instant::now() < limit, "{:?}", node.status());
        let many = (1..1_000).map(send).collect();
        leader.submit(many).unwrap().await.unwrap();
    }
    let stopped = tokio::time::timeout(PATIENCE, node.shutdown()).await;
    assert!(stopped.is_ok(), "it waits for space");
    assert_eq!(writing.lock().unwrap().written, []);
}
