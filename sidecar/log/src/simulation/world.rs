use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};

use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use tokio::task::JoinHandle;

use super::disk::{PowerLoss, SimulatedDisk};
use super::host::{Ended, Host, Pace};
use super::network::{Network, Weather};
use super::plant::Plant;
use super::trace::Trace;
use crate::cluster::{ClusterOptions, Leadership, Member, Start};
use crate::{Command, Log, Options, Pending, SubmitError};

/// The cluster of every world.
const CLUSTER: &str = "simulated";

/// What a world is made of.
#[derive(Clone, Debug)]
pub struct WorldOptions {
    /// Everything that is left to chance follows from it.
    pub seed: u64,
    /// How many nodes there are; one is a log without a network.
    pub nodes: u64,
    /// How nodes are opened; paths, numbers and clocks are the world's.
    pub log: Options,
    /// Where directories for derived state are made, and removed.
    pub directory: PathBuf,
    /// A mistake to make.
    pub plant: Option<Plant>,
    /// The trace is kept as text.
    pub keep_trace: bool,
}

/// The world: nodes, the network between them, and the time.
pub struct World {
    options: WorldOptions,
    now_ms: u64,
    random: SmallRng,
    hosts: BTreeMap<u64, Host>,
    network: Network,
    trace: Trace,
    formed: bool,
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World")
            .field("now_ms", &self.now_ms)
            .finish_non_exhaustive()
    }
}

impl World {
    /// A world in which no node runs yet. A thread has one world at a time.
    #[must_use]
    pub fn new(options: WorldOptions) -> Self {
        Plant::set(options.plant);
        crate::cluster::seed_elections(options.seed);
        let host = |id| {
            let directory = options.directory.join(format!("node-{id}"));
            (id, Host::new(id, directory))
        };
        Self {
            now_ms: 0,
            random: SmallRng::seed_from_u64(options.seed),
            hosts: (1..=options.nodes).map(host).collect(),
            network: Network::new(),
            trace: Trace::new(options.keep_trace),
            formed: false,
            options,
        }
    }

    /// Milliseconds since the beginning.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// What is left to chance.
    pub fn random(&mut self) -> &mut SmallRng {
        &mut self.random
    }

    /// What happened so far.
    pub fn trace(&mut self) -> &mut Trace {
        &mut self.trace
    }

    /// All nodes, running or not.
    #[must_use]
    pub fn nodes(&self) -> Vec<u64> {
        self.hosts.keys().copied().collect()
    }

    /// True while the process of a node runs, whether its log is open or not.
    #[must_use]
    pub fn is_running(&self, node: u64) -> bool {
        self.hosts.get(&node).is_some_and(Host::is_running)
    }

    /// The log of a node, once it is open.
    #[must_use]
    pub fn log(&self, node: u64) -> Option<&Log> {
        self.hosts.get(&node)?.log()
    }

    /// The node that leads, or one that has not heard of a newer leader yet.
    #[must_use]
    pub fn leader(&self) -> Option<u64> {
        let term = |id: &u64| match &*self.log(*id)?.leadership().borrow() {
            Leadership::Leading { term } => Some(*term),
            Leadership::Following { .. } => None,
        };
        let leading = self.hosts.keys().filter_map(|id| Some((term(id)?, *id)));
        leading.max().map(|(_, id)| id)
    }

    /// The last entry that is written by a node, and the last that is durable there.
    #[must_use]
    pub fn written_and_durable(&self, node: u64) -> (u64, u64) {
        let wal = self.hosts.get(&node).and_then(Host::wal);
        wal.map_or((0, 0), |wal| {
            let index = |id: Option<crate::wal::EntryId>| id.map_or(0, |id| id.index);
            (index(wal.last(0)), index(wal.durable(0)))
        })
    }

    /// Whom a node has voted for, as far as it has written that: term and candidate.
    #[must_use]
    pub fn vote(&self, node: u64) -> Option<(u64, u64)> {
        let vote = self.hosts.get(&node)?.wal()?.vote(0)?;
        Some((vote.term, vote.node))
    }

    /// Starts the process of a node.
    ///
    /// # Errors
    ///
    /// When the real system has no room for its runtime.
    pub fn start(&mut self, node: u64) -> io::Result<()> {
        let mut options = self.options.log.clone();
        options.cluster_id = Some(CLUSTER.to_owned());
        if self.options.nodes > 1 {
            let start = match node == 1 && !self.formed {
                true => Start::Form(self.members()),
                false => Start::Wait,
            };
            options.cluster = Some(ClusterOptions {
                transport: self.network.access(node),
                start,
            });
        }
        self.trace.note(format_args!("node {node} starts"));
        match self.hosts.get_mut(&node) {
            Some(host) if !host.is_running() => host.start(options, self.now_ms),
            _ => Ok(()),
        }
    }

    fn members(&self) -> BTreeMap<u64, Member> {
        let member = |id: &u64| {
            let member = Member {
                address: format!("node-{id}"),
                edge: format!("edge-{id}"),
                instance: u128::from(*id),
            };
            (*id, member)
        };
        self.hosts.keys().map(member).collect()
    }

    /// Ends the process of a node in the middle of whatever it does. With `silent`, the others
    /// are not told.
    pub fn crash(&mut self, node: u64, loss: PowerLoss, silent: bool) {
        self.trace.note(format_args!(
            "node {node} crashes: {loss:?}, silent {silent}"
        ));
        if let Some(host) = self.hosts.get_mut(&node) {
            host.disk.crash(loss, &mut self.random);
            host.kill();
            host.paused_until_ms = 0;
        }
        let random = &mut self.random;
        self.network.lose(node, silent, self.now_ms, random);
    }

    /// Stops a node's process for a while, as a debugger or a busy machine does.
    pub fn pause(&mut self, node: u64, for_ms: u64) {
        self.trace
            .note(format_args!("node {node} is paused for {for_ms} ms"));
        if let Some(host) = self.hosts.get_mut(&node) {
            host.paused_until_ms = self.now_ms + for_ms;
        }
    }

    /// Sets a node's time of day off by so much, and its clocks to run so many milliseconds in
    /// a thousand.
    pub fn set_clock(&mut self, node: u64, skew_ms: i64, rate: u64) {
        self.trace.note(format_args!(
            "node {node} is {skew_ms} ms off and runs at {rate}"
        ));
        if let Some(host) = self.hosts.get_mut(&node) {
            host.skew_ms = skew_ms;
            host.rate = rate;
        }
    }

    /// Makes a node's disk as fast as this.
    pub fn set_pace(&mut self, node: u64, pace: Pace) {
        self.trace.note(format_args!("disk of {node}: {pace:?}"));
        if let Some(host) = self.hosts.get_mut(&node) {
            host.pace = pace;
        }
    }

    /// The disk of a node.
    #[must_use]
    pub fn disk(&self, node: u64) -> Option<&SimulatedDisk> {
        self.hosts.get(&node).map(|host| &host.disk)
    }

    /// Lets nothing pass between these nodes, in these directions.
    pub fn set_blocked(&mut self, blocked: BTreeSet<(u64, u64)>) {
        self.trace.note(format_args!("blocked: {blocked:?}"));
        self.network.blocked = blocked;
    }

    /// True while nothing gets from one node to the other.
    #[must_use]
    pub fn is_blocked(&self, from: u64, to: u64) -> bool {
        self.network.is_blocked(from, to)
    }

    /// Makes the network like this.
    pub fn set_weather(&mut self, weather: Weather) {
        self.trace.note(format_args!("{weather:?}"));
        self.network.weather = weather;
    }

    /// Breaks some stream between nodes.
    pub fn break_a_stream(&mut self) {
        let (random, trace) = (&mut self.random, &mut self.trace);
        self.network.break_any(self.now_ms, random, trace);
    }

    /// Submits commands to a node.
    ///
    /// # Errors
    ///
    /// As [`Log::submit`]; closed when the node's log is not open.
    pub fn submit(&self, node: u64, commands: Vec<Command>) -> Result<Pending, SubmitError> {
        let host = self.hosts.get(&node).ok_or(SubmitError::Closed)?;
        let submitted = host.enter(|log, _| log.submit(commands));
        submitted.ok_or(SubmitError::Closed)?
    }

    /// Reads from a node; nothing when its log is not open, or while it is paused.
    pub fn with_log<T>(&self, node: u64, read: impl FnOnce(&Log) -> T) -> Option<T> {
        let host = self.hosts.get(&node)?;
        match host.paused_until_ms > self.now_ms {
            true => None,
            false => host.enter(|log, _| read(log)),
        }
    }

    /// True while a node's process is stopped.
    #[must_use]
    pub fn is_paused(&self, node: u64) -> bool {
        let host = self.hosts.get(&node);
        host.is_some_and(|host| host.paused_until_ms > self.now_ms)
    }

    /// Begins something on a node that takes time; nothing when its log is not open.
    pub fn spawn<F, T>(&self, node: u64, call: impl FnOnce(Log) -> F) -> Option<JoinHandle<T>>
    where
        F: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        let host = self.hosts.get(&node)?;
        host.enter(|log, runtime| runtime.spawn(call(log.clone())))
    }

    /// Lets a millisecond pass. The nodes whose processes have ended by themselves, with the
    /// reason.
    pub fn tick(&mut self) -> Vec<(u64, String)> {
        self.now_ms += 1;
        self.trace.set_time(self.now_ms);
        let (random, trace) = (&mut self.random, &mut self.trace);
        self.network.step(self.now_ms, &self.hosts, random, trace);
        let mut order: Vec<u64> = self.hosts.keys().copied().collect();
        order.shuffle(random);
        let mut ended = Vec::new();
        for id in order {
            let Some(host) = self.hosts.get_mut(&id) else {
                continue;
            };
            if let Err(reason) = host.step(self.now_ms, random, trace) {
                ended.push((id, reason));
            }
            // Who has formed the cluster once must not do it again.
            self.formed |= id == 1 && host.wal().is_some_and(|wal| wal.durable(0).is_some());
        }
        let mut told = Vec::new();
        for (id, reason) in ended {
            let reason = match reason {
                Ended::Failed => "its log has failed".to_owned(),
                // Where the real directories are is not part of the world.
                Ended::NotOpened(error) => error
                    .to_string()
                    .replace(&*self.options.directory.to_string_lossy(), ""),
            };
            self.trace
                .note(format_args!("node {id} has ended: {reason}"));
            let silent = self.random.random_bool(0.5);
            self.crash(id, PowerLoss::None, silent);
            told.push((id, reason));
        }
        told
    }

    /// A node's directory on the real disk, for what is derived from its log.
    #[must_use]
    pub fn directory(&self, node: u64) -> Option<PathBuf> {
        let host = self.hosts.get(&node)?;
        Some(host.directory().to_owned())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for host in self.hosts.values_mut() {
            host.disk.crash(PowerLoss::None, &mut self.random);
            host.kill();
        }
        Plant::set(None);
    }
}

/// What a future has come to, without waiting for it.
pub fn poll_now<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    let mut context = Context::from_waker(std::task::Waker::noop());
    match Pin::new(future).poll(&mut context) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}
