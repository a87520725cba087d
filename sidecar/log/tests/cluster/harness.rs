//! Three logs in one process, with a network that can be cut.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use outrigger_log::cluster::{
    ClusterOptions, Exchange, Identity, Leadership, Member, OpenExchange, Purpose, Start, Transport,
};
use outrigger_log::{
    Command, Log, Logs, NewMessage, OpenError, Options, Outcome, SubmitError, TopicId,
};
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};

/// Longer than anything takes on a machine that does much else.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Which nodes there are, and who cannot hear whom.
#[derive(Default)]
pub(crate) struct Network {
    nodes: Mutex<BTreeMap<u64, Logs>>,
    /// Streams to a node end when it does: then this is dropped.
    alive: Mutex<BTreeMap<u64, watch::Sender<()>>>,
    cut: Mutex<BTreeSet<(u64, u64)>>,
}

impl Network {
    fn reaches(&self, from: u64, to: u64) -> bool {
        !self.cut.lock().unwrap().contains(&(from, to))
    }

    /// Nobody hears of this node any more, nor it of them.
    pub(crate) fn isolate(&self, id: u64) {
        let mut cut = self.cut.lock().unwrap();
        for other in 1..=9 {
            cut.extend([(id, other), (other, id)]);
        }
    }

    /// This node hears of nobody any more; the others hear it.
    pub(crate) fn deafen(&self, id: u64) {
        let mut cut = self.cut.lock().unwrap();
        cut.extend((1..=9).map(|other| (other, id)));
    }

    pub(crate) fn heal(&self) {
        self.cut.lock().unwrap().clear();
    }
}

/// A node that still runs when its directory is removed takes that for damage, and ends the
/// process.
impl Drop for Cluster {
    fn drop(&mut self) {
        let nodes = std::mem::take(&mut *self.network.nodes.lock().unwrap());
        self.network.alive.lock().unwrap().clear();
        let paths: Vec<_> = nodes.keys().map(|id| (*id, self.path(*id))).collect();
        drop(nodes);
        let closed = |(id, path): &(u64, PathBuf)| Identity::read_or_make(path, *id).is_ok();
        tokio::task::block_in_place(|| {
            let until = std::time::Instant::now() + PATIENCE;
            while !paths.iter().all(closed) && std::time::Instant::now() < until {
                std::thread::sleep(Duration::from_millis(5));
            }
        });
    }
}

/// The network, as one node has it.
struct Line {
    network: Arc<Network>,
    own: u64,
}

impl Transport for Line {
    fn open(&self, target: u64, member: &Member, purpose: Purpose) -> OpenExchange {
        let (network, own) = (Arc::clone(&self.network), self.own);
        assert_eq!(member.address, address(target));
        Box::pin(async move {
            let logs = network.nodes.lock().unwrap().get(&target).cloned();
            let logs = logs.filter(|_| network.reaches(own, target));
            let logs = logs.ok_or(std::io::ErrorKind::NotConnected)?;
            let alive = network.alive.lock().unwrap()[&target].subscribe();
            let (frames, outgoing) = mpsc::channel(16);
            let (incoming, answers) = mpsc::channel(16);
            let (served, frames_there) = mpsc::channel(16);
            let answers_there = logs.serve_peer(own, purpose, frames_there);
            let there = Arc::clone(&network);
            tokio::spawn(carry(outgoing, served, alive.clone(), move || {
                there.reaches(own, target)
            }));
            tokio::spawn(carry(answers_there, incoming, alive, move || {
                network.reaches(target, own)
            }));
            Ok(Exchange { frames, answers })
        })
    }
}

/// Frames arrive in order until the line is cut; then it says nothing more, as a real one.
async fn carry(
    mut from: mpsc::Receiver<Bytes>,
    to: mpsc::Sender<Bytes>,
    mut alive: watch::Receiver<()>,
    reaches: impl Fn() -> bool,
) {
    loop {
        let frame = tokio::select! {
            frame = from.recv() => frame,
            () = to.closed() => return,
            _ = alive.changed() => return,
        };
        let Some(frame) = frame else { return };
        if !reaches() {
            tokio::select! {
                () = to.closed() => return,
                _ = alive.changed() => return,
            }
        }
        if to.send(frame).await.is_err() {
            return;
        }
    }
}

fn address(id: u64) -> String {
    format!("node-{id}:7071")
}

pub(crate) struct Cluster {
    pub(crate) network: Arc<Network>,
    directory: TempDir,
    options: fn(&Path) -> Options,
}

impl Cluster {
    /// Three voters that know each other.
    pub(crate) async fn of_three() -> Self {
        Self::of_three_with(options).await
    }

    /// The same with other options.
    pub(crate) async fn of_three_with(options: fn(&Path) -> Options) -> Self {
        let cluster = Self {
            options,
            network: Arc::default(),
            directory: tempfile::tempdir().unwrap(),
        };
        let members: BTreeMap<_, _> = (1..=3).map(|id| (id, cluster.adopt(id))).collect();
        for id in [2, 3] {
            cluster.start(id, Start::Wait).await.unwrap();
        }
        cluster.start(1, Start::Form(members)).await.unwrap();
        cluster
    }

    pub(crate) fn path(&self, id: u64) -> PathBuf {
        self.directory.path().join(id.to_string())
    }

    /// Makes a node's directory one of this cluster, and says how others know it.
    pub(crate) fn adopt(&self, id: u64) -> Member {
        let path = self.path(id);
        Identity::read_or_make(&path, id).unwrap();
        let groups = (self.options)(&path).groups;
        let identity = Identity::adopt(&path, "test", groups).unwrap();
        Member {
            address: address(id),
            edge: format!("node-{id}:7070"),
            instance: identity.instance,
        }
    }

    pub(crate) async fn start(&self, id: u64, start: Start) -> Result<Log, OpenError> {
        let network = Arc::clone(&self.network);
        let transport = Arc::new(Line { network, own: id });
        let alive = watch::Sender::new(());
        self.network.alive.lock().unwrap().insert(id, alive);
        let logs = Logs::open(Options {
            node_id: id,
            cluster: Some(ClusterOptions { transport, start }),
            ..(self.options)(&self.path(id))
        })
        .await?;
        let log = logs.group(0).unwrap().clone();
        self.network.nodes.lock().unwrap().insert(id, logs);
        Ok(log)
    }

    pub(crate) fn log(&self, id: u64) -> Log {
        self.group(id, 0)
    }

    /// A data group of a node.
    pub(crate) fn group(&self, id: u64, group: u32) -> Log {
        let nodes = self.network.nodes.lock().unwrap();
        nodes[&id].group(group).unwrap().clone()
    }

    pub(crate) fn ids(&self) -> Vec<u64> {
        self.network.nodes.lock().unwrap().keys().copied().collect()
    }

    /// Ends a node without giving it time for anything, and waits until its files are free.
    pub(crate) async fn kill(&self, id: u64) {
        let logs = self.network.nodes.lock().unwrap().remove(&id);
        self.network.alive.lock().unwrap().remove(&id);
        drop(logs.expect("the node runs"));
        eventually("the directory is free", || {
            Identity::read_or_make(&self.path(id), id).is_ok()
        })
        .await;
    }

    /// Stops a node in order.
    pub(crate) async fn stop(&self, id: u64) {
        let logs = self.network.nodes.lock().unwrap().remove(&id);
        logs.expect("the node runs").shutdown().await;
    }

    /// Who leads, besides those who are left out.
    pub(crate) async fn leader_besides(&self, besides: &[u64]) -> (u64, Log) {
        self.leader_of(0, besides).await
    }

    /// Who leads a data group, besides those who are left out.
    pub(crate) async fn leader_of(&self, group: u32, besides: &[u64]) -> (u64, Log) {
        let mut found = None;
        eventually("somebody leads", || {
            let nodes = self.network.nodes.lock().unwrap();
            let leads = |(id, logs): (&u64, &Logs)| {
                let log = logs.group(group)?;
                let leading = log.leadership().borrow().is_leading() && !besides.contains(id);
                leading.then(|| (*id, log.clone()))
            };
            found = nodes.iter().find_map(leads);
            found.is_some()
        })
        .await;
        found.unwrap()
    }

    pub(crate) async fn leader(&self) -> (u64, Log) {
        self.leader_besides(&[]).await
    }

    /// All nodes have applied what the leader has, and have the same of it.
    pub(crate) async fn agree(&self) {
        self.agree_in(0).await;
    }

    /// The same in a data group.
    pub(crate) async fn agree_in(&self, group: u32) {
        let (_, leader) = self.leader_of(group, &[]).await;
        let ids = self.ids().into_iter();
        let logs: Vec<_> = ids.map(|id| self.group(id, group)).collect();
        let applied = || -> BTreeSet<_> {
            let applied = logs.iter().map(|log| log.status().applied_index);
            applied.chain([leader.status().applied_index]).collect()
        };
        loop {
            eventually("all nodes have applied the same", || applied().len() == 1).await;
            let before = applied();
            let bodies: Vec<_> = logs.iter().map(bodies).collect();
            let digests: Vec<_> = logs.iter().map(|log| log.digest().unwrap()).collect();
            // The leader proposes something by itself now and then.
            if applied() != before {
                continue;
            }
            assert!(bodies.iter().all(|other| *other == bodies[0]));
            assert!(digests.iter().all(|other| *other == digests[0]));
            return;
        }
    }
}

pub(crate) fn options(directory: &Path) -> Options {
    Options {
        wal_segment_bytes: 1 << 20,
        wal_first_segment_bytes: 256 << 10,
        entry_bytes_max: 128 << 10,
        entry_bytes_target: 32 << 10,
        tail_cache_bytes_max: 256 << 10,
        // Nobody is taken for dead because the machine does something else.
        heartbeat_interval_ms: 150,
        election_timeout_ms: 800,
        ..Options::new(directory)
    }
}

pub(crate) async fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let waited = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, waited).await;
    assert!(waited.is_ok(), "not within {PATIENCE:?}: {what}");
}

pub(crate) async fn topic(log: &Log) -> TopicId {
    let create = Command::CreateTopic {
        name: "orders".to_owned(),
        queues: 1,
        durability: Default::default(),
    };
    match log.submit(vec![create]).unwrap().await.unwrap()[..] {
        [Outcome::Topic(topic)] => topic,
        ref other => panic!("{other:?}"),
    }
}

pub(crate) fn send(topic: TopicId, text: &str) -> Command {
    let message = NewMessage {
        destination: topic.into(),
        key_hash: 0,
        tag_hash: 0,
        deliver_at_ms: 0,
        from_fence: false,
        stored: Bytes::from(text.to_owned()),
    };
    Command::Send {
        message,
        sequence: None,
    }
}

/// The messages of the topic's queue, in order.
pub(crate) fn bodies(log: &Log) -> Vec<Bytes> {
    let Some(topic) = log.topic("orders") else {
        return Vec::new();
    };
    let mut entries = Vec::new();
    log.index(topic.id, 0, 0, usize::MAX, &mut entries).unwrap();
    log.read(&entries).unwrap()
}

pub(crate) fn is_follower_of(log: &Log, leader: u64) -> bool {
    match &*log.leadership().borrow() {
        Leadership::Following {
            leader: Some((id, member)),
            ..
        } => *id == leader && member.address == address(leader),
        _ => false,
    }
}

/// Sends messages one after the other, by whoever leads, and notes what was acknowledged. What
/// became of the others is not known.
pub(crate) async fn write(
    cluster: Arc<Cluster>,
    writer: u32,
    stop: Arc<std::sync::atomic::AtomicBool>,
) -> Vec<String> {
    write_to(0, cluster, writer, stop).await
}

/// The same in a data group.
pub(crate) async fn write_to(
    group: u32,
    cluster: Arc<Cluster>,
    writer: u32,
    stop: Arc<std::sync::atomic::AtomicBool>,
) -> Vec<String> {
    let mut acknowledged = Vec::new();
    let mut number = 0_u64;
    while !stop.load(std::sync::atomic::Ordering::SeqCst) {
        let logs: Vec<_> = cluster
            .ids()
            .into_iter()
            .map(|id| cluster.group(id, group))
            .collect();
        let leader = logs
            .iter()
            .find(|log| log.leadership().borrow().is_leading());
        let Some(leader) = leader.filter(|log| log.topic("orders").is_some()) else {
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        };
        let topic = leader.topic("orders").unwrap().id;
        let text = format!("{writer} {number}");
        number += 1;
        let pending = leader.submit(vec![send(topic, &text)]);
        drop(logs);
        match pending {
            Ok(pending) => match tokio::time::timeout(PATIENCE, pending).await {
                Ok(Ok(_)) => acknowledged.push(text),
                Ok(Err(SubmitError::OutcomeUnknown | SubmitError::NotLeader { .. })) => {}
                Ok(Err(error)) => panic!("{error}"),
                Err(_) => panic!("{text} was not answered"),
            },
            Err(SubmitError::NotLeader { .. } | SubmitError::Overloaded { .. }) => {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
    acknowledged
}
