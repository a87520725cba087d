//! Answers before the disks have synced.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tempfile::TempDir;
use tokio::sync::mpsc;

use super::restart::send;
use crate::cluster::{
    ClusterOptions, Exchange, Identity, Member, OpenExchange, Purpose, Start, Transport,
};
use crate::command::{Command, Durability, Outcome};
use crate::log::Log;
use crate::options::Options;
use crate::submit::Pending;
use crate::wal::tests::faulty::{FaultyDisk, Held};

/// Long enough to see that an answer does not come while nothing hinders it but what the test
/// has broken, and shorter than it takes to hold an election.
const SEEN_TO_WAIT: Duration = Duration::from_millis(300);
/// Longer than anything takes on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(30);

async fn make_topics(log: &Log) {
    let topic = |name: &str| Command::CreateTopic {
        name: name.to_owned(),
        queues: 1,
        durability: Durability::default(),
    };
    // Messages of these tests go to the second one.
    let made = log.submit(vec![topic("other"), topic("orders")]).unwrap();
    made.await.unwrap();
}

fn submit(log: &Log, durability: Durability, number: u32) -> Pending {
    let submitted = log.submit_at(vec![send(number)], durability, log.aftermath());
    submitted.unwrap()
}

async fn answer(pending: Pending) -> Vec<Outcome> {
    let answered = tokio::time::timeout(PATIENCE, pending).await;
    answered.expect("an answer").unwrap()
}

async fn assert_waits(pending: &mut Pending) {
    let waited = tokio::time::timeout(SEEN_TO_WAIT, pending).await;
    assert!(waited.is_err(), "answered too early: {waited:?}");
}

fn visible(log: &Log) -> u64 {
    let topic = log.topic("orders");
    topic.map_or(0, |topic| log.queue_bounds(topic.id, 0).1)
}

fn sent(offset: u64) -> Vec<Outcome> {
    vec![Outcome::Sent { queue: 0, offset }]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alone_a_node_answers_replicated_sends_while_its_disk_hangs_and_no_synced_ones() {
    let directory = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::default();
    let options = Options::new(directory.path());
    let log = Log::open_on(options, Arc::new(disk.clone())).await.unwrap();
    make_topics(&log).await;

    let held = disk.hold_syncs();
    let accepted = answer(submit(&log, Durability::Accepted, 1)).await;
    assert_eq!(accepted, [Outcome::Accepted]);
    let replicated = answer(submit(&log, Durability::Replicated, 2)).await;
    assert_eq!(replicated, [Outcome::Replicated]);
    let mut synced = submit(&log, Durability::Synced, 3);
    assert_waits(&mut synced).await;
    assert_eq!(visible(&log), 0, "nothing is visible that is not synced");
    drop(held);
    assert_eq!(answer(synced).await, sent(2));
    assert_eq!(visible(&log), 3);
    assert_eq!(log.aftermath().failures(), 0);
    log.shutdown().await;
}

/// Three voters in one process, each on a disk that can hang.
struct Voters {
    _directory: TempDir,
    disks: BTreeMap<u64, FaultyDisk>,
    wires: Arc<Wires>,
}

#[derive(Default)]
struct Wires {
    logs: Mutex<BTreeMap<u64, Log>>,
    /// Nobody hears anything of these.
    deaf: Mutex<BTreeSet<u64>>,
}

struct Wire {
    wires: Arc<Wires>,
    own: u64,
}

impl Transport for Wire {
    fn open(&self, target: u64, _member: &Member, purpose: Purpose) -> OpenExchange {
        let (wires, own) = (Arc::clone(&self.wires), self.own);
        Box::pin(async move {
            let log = wires.logs.lock().unwrap().get(&target).cloned();
            let log = log.ok_or(std::io::ErrorKind::NotConnected)?;
            let (frames, there) = mpsc::channel(16);
            let answers_there = log.serve_peer(own, purpose, there);
            let (incoming, answers) = mpsc::channel(16);
            tokio::spawn(carry(answers_there, incoming, wires, target));
            Ok(Exchange { frames, answers })
        })
    }
}

async fn carry(
    mut from: mpsc::Receiver<Bytes>,
    to: mpsc::Sender<Bytes>,
    wires: Arc<Wires>,
    speaker: u64,
) {
    while let Some(frame) = from.recv().await {
        let is_deaf = wires.deaf.lock().unwrap().contains(&speaker);
        if !is_deaf && to.send(frame).await.is_err() {
            return;
        }
    }
}

impl Voters {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = |id: u64| directory.path().join(id.to_string());
        let mut members = BTreeMap::new();
        for id in 1..=3 {
            Identity::read_or_make(&path(id), id).unwrap();
            let identity = Identity::adopt(&path(id), "test", 1).unwrap();
            let instance = identity.instance;
            let member = Member {
                instance,
                ..Member::default()
            };
            members.insert(id, member);
        }
        let wires = Arc::new(Wires::default());
        let mut disks = BTreeMap::new();
        for id in [2, 3, 1] {
            let start = match id {
                1 => Start::Form(members.clone()),
                _ => Start::Wait,
            };
            let disk = FaultyDisk::default();
            let transport = Wire {
                wires: Arc::clone(&wires),
                own: id,
            };
            let transport = Arc::new(transport);
            let options = Options {
                node_id: id,
                cluster: Some(ClusterOptions { transport, start }),
                // Nobody is taken for dead because the machine does something else.
                heartbeat_interval_ms: 150,
                election_timeout_ms: 1_500,
                ..Options::new(path(id))
            };
            let log = Log::open_on(options, Arc::new(disk.clone())).await.unwrap();
            wires.logs.lock().unwrap().insert(id, log);
            disks.insert(id, disk);
        }
        Self {
            _directory: directory,
            disks,
            wires,
        }
    }

    fn logs(&self) -> BTreeMap<u64, Log> {
        self.wires.logs.lock().unwrap().clone()
    }

    /// The leader and the two others.
    async fn roles(&self) -> (Log, [u64; 2]) {
        let logs = self.logs();
        let leading = || {
            let mut logs = logs.iter();
            logs.find(|(_, log)| log.leadership().borrow().is_leading())
        };
        let found = async {
            loop {
                if let Some((id, log)) = leading() {
                    return (*id, log.clone());
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let (leader, log) = tokio::time::timeout(PATIENCE, found).await.unwrap();
        let others: Vec<u64> = (1..=3).filter(|id| *id != leader).collect();
        (log, [others[0], others[1]])
    }

    fn hold(&self, ids: impl IntoIterator<Item = u64>) -> Vec<Held> {
        let held = ids.into_iter().map(|id| self.disks[&id].hold_syncs());
        held.collect()
    }

    fn silence(&self, id: u64) {
        self.wires.deaf.lock().unwrap().insert(id);
    }

    async fn all_have(&self, messages: u64) {
        let logs = self.logs();
        let all = async {
            while logs.values().any(|log| visible(log) < messages) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, all).await.unwrap();
    }

    async fn end(self) {
        for (_, log) in std::mem::take(&mut *self.wires.logs.lock().unwrap()) {
            tokio::spawn(log.shutdown());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicated_sends_are_answered_while_the_disks_of_all_nodes_hang_and_synced_ones_are_not() {
    let voters = Voters::start().await;
    let (leader, _) = voters.roles().await;
    make_topics(&leader).await;

    let held = voters.hold(1..=3);
    let replicated = answer(submit(&leader, Durability::Replicated, 1)).await;
    assert_eq!(replicated, [Outcome::Replicated]);
    let mut synced = submit(&leader, Durability::Synced, 2);
    assert_waits(&mut synced).await;
    assert_eq!(visible(&leader), 0, "nothing is visible that is not synced");
    drop(held);
    assert_eq!(answer(synced).await, sent(1));
    voters.all_have(2).await;
    assert_eq!(leader.aftermath().failures(), 0);
    voters.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_other_node_is_enough_for_a_majority_of_three() {
    let voters = Voters::start().await;
    let (leader, [_, silent]) = voters.roles().await;
    make_topics(&leader).await;
    voters.silence(silent);
    let held = voters.hold(1..=3);
    let replicated = answer(submit(&leader, Durability::Replicated, 1)).await;
    assert_eq!(replicated, [Outcome::Replicated]);
    drop(held);
    voters.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_receipt_of_another_node_nothing_is_answered() {
    let voters = Voters::start().await;
    let (leader, others) = voters.roles().await;
    make_topics(&leader).await;
    for id in others {
        voters.silence(id);
    }
    let accepted = answer(submit(&leader, Durability::Accepted, 1)).await;
    assert_eq!(accepted, [Outcome::Accepted]);
    let mut replicated = submit(&leader, Durability::Replicated, 2);
    assert_waits(&mut replicated).await;
    voters.end().await;
}
