use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use openraft::errors::Fatal;
use openraft::{Config, Raft, SnapshotPolicy};
use tokio::sync::{Mutex, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::beginning::{begin, settle};
use super::checkpointer::{CheckpointLimits, Checkpointer};
use super::disk::DiskWatch;
use super::error::NodeError;
use super::leadership;
use super::limits;
use super::log_store::LogStore;
use super::machine::{Driven, Machine};
use super::network::{Network, Sources};
use super::proposer::Proposer;
use super::receipts::{self, Receipts};
use super::retention::{Retention, RetentionLimits};
use super::timer;
use super::timing::Timing;
use super::types::{NodeId, TypeConfig};
use crate::apply::Apply;
use crate::blocking::Blocking;
use crate::cluster::{ClusterOptions, Leadership};
use crate::command::{Command, Durability};
use crate::floor::Floors;
use crate::state;
use crate::submit::{Aftermath, Batcher, Clock, Limits, Pending, SubmitError, WallClock};
use crate::wal::Wal;

/// Entries that are sent to another node together, at most.
const APPEND_ENTRIES_MAX: u64 = 256;
/// How long applying what was committed before may take.
const RECOVERY_MS_MAX: u64 = 600_000;

/// How long a shutdown waits for what was taken before.
const DRAIN_MS_MAX: u64 = 5_000;
/// How long it waits for the last checkpoint. Without it the next start applies more of the log;
/// on a full disk it may not come before there is space.
const LAST_CHECKPOINT_MS_MAX: u64 = if cfg!(test) { 300 } else { 10_000 };

/// What a node keeps to.
#[derive(Clone, Debug)]
pub(crate) struct NodeOptions {
    /// The data group.
    pub(crate) group: u32,
    pub(crate) node_id: NodeId,
    pub(crate) instance: u128,
    pub(crate) cluster: Option<ClusterOptions>,
    pub(crate) timing: Timing,
    pub(crate) wall_clock: WallClock,
    pub(crate) blocking: Blocking,
    pub(crate) limits: state::Limits,
    pub(crate) submit: Limits,
    pub(crate) checkpoint: CheckpointLimits,
    pub(crate) retention: RetentionLimits,
    pub(crate) disk: Arc<DiskWatch>,
}

/// How a node is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NodeStatus {
    pub(crate) term: u64,
    pub(crate) leader: Option<NodeId>,
    pub(crate) applied_index: Option<u64>,
    pub(crate) durable_index: Option<u64>,
    pub(crate) in_flight_bytes: u64,
    pub(crate) no_space: bool,
    pub(crate) disk_used_percent: u64,
    pub(crate) log_bytes: u64,
}

/// A member of a Raft group: its log, its state, and the tasks that drive them.
pub(crate) struct Node<A: Apply> {
    pub(super) group: u32,
    pub(super) raft: Raft<TypeConfig, Machine<A>>,
    wal: Arc<Wal>,
    driven: Arc<Driven<A>>,
    pub(super) leadership: watch::Receiver<Leadership>,
    pub(super) network: Network,
    pub(super) receipts: Arc<Receipts>,
    pub(super) timing: Timing,
    /// Before, this node votes for nobody.
    pub(super) silent_until: Instant,
    /// The last term in which leadership was given away.
    pub(super) given_away: AtomicU64,
    disk: Arc<DiskWatch>,
    pub(super) blocking: Blocking,
    pub(super) floors: Arc<Floors>,
    pub(super) batcher: Arc<Batcher<Proposer<A>>>,
    checkpointer: Arc<Checkpointer<A>>,
    tasks: Mutex<JoinSet<()>>,
}

impl<A: Apply> Node<A> {
    /// Starts the node. Alone it returns when it leads and has applied everything that was
    /// acknowledged before; one of several returns at once.
    pub(crate) async fn start(
        options: NodeOptions,
        wal: Arc<Wal>,
        mut state: A,
        floors: Arc<Floors>,
    ) -> Result<Self, NodeError> {
        let (group, blocking, timing) = (options.group, options.blocking, options.timing);
        let purged = settle(group, &wal, &mut state, &floors, blocking).await?;
        let silence = wal.vote(group).map(|_| timing.silence());
        let silent_until = Instant::now() + silence.unwrap_or_default();
        let transport = options.cluster.as_ref().map(|cluster| &cluster.transport);
        let purged_index = purged.map_or(0, |purged| purged.index);
        let driven = Arc::new(Driven::new(state, purged_index));
        let log_store = LogStore::new(Arc::clone(&wal), group, blocking);
        let receipts = Arc::clone(log_store.receipts());
        let network = Network::new(
            transport.cloned(),
            group,
            Arc::clone(&receipts),
            Sources {
                floors: Arc::clone(&floors),
                blocking,
            },
        );
        let raft = Raft::new(
            options.node_id,
            Arc::new(config(timing)),
            network.clone(),
            log_store,
            Machine::new(Arc::clone(&driven), Arc::clone(&floors), blocking),
        )
        .await
        .map_err(|error| NodeError::stopped("starting", error))?;
        begin(&raft, &options).await?;
        if options.cluster.is_none() {
            wait_until_recovered(&raft, &wal, group).await?;
        }

        let clock = Clock::not_before(options.wall_clock, driven.state().last_stamp_ms());
        let (leading, leadership) =
            watch::channel(leadership::of(&raft.metrics().borrow_watched(), timing));
        let disk = options.disk;
        let proposer = Proposer::new(
            raft.clone(),
            Arc::clone(&wal),
            leadership.clone(),
            Arc::clone(&disk),
        );
        let batcher = Batcher::new(options.submit, clock, proposer);
        let checkpointer = Arc::new(Checkpointer::new(
            group,
            options.checkpoint,
            blocking,
            Arc::clone(&wal),
            Arc::clone(&driven),
            Arc::clone(&floors),
        ));
        let retention = Retention {
            group,
            limits: options.retention,
            blocking,
            raft: raft.clone(),
            wal: Arc::clone(&wal),
            driven: Arc::clone(&driven),
            floors: Arc::clone(&floors),
            leadership: leadership.clone(),
            batcher: Arc::clone(&batcher),
            disk: Arc::clone(&disk),
        };
        let bounds = limits::Bounds {
            wanted: options.limits,
            driven: Arc::clone(&driven),
            leadership: leadership.clone(),
            batcher: Arc::clone(&batcher),
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(receipts::follow(Arc::clone(&receipts), &raft));
        tasks.spawn(leadership::run(
            raft.clone(),
            Arc::clone(&driven),
            Arc::clone(&batcher),
            timing,
            leading,
        ));
        tasks.spawn(Arc::clone(&batcher).run());
        let due = driven.due();
        tasks.spawn(timer::run(due, leadership.clone(), Arc::clone(&batcher)));
        tasks.spawn(Arc::clone(&checkpointer).run());
        tasks.spawn(retention.run());
        tasks.spawn(watch_for_failure(raft.clone(), Arc::clone(&wal)));
        if options.cluster.is_none() {
            bounds.propose().await;
        }
        tasks.spawn(bounds.run());
        Ok(Self {
            group,
            raft,
            wal,
            driven,
            leadership,
            network,
            receipts,
            timing,
            silent_until,
            given_away: AtomicU64::new(0),
            disk,
            blocking,
            floors,
            batcher,
            checkpointer,
            tasks: Mutex::new(tasks),
        })
    }

    /// The index of the last entry in the log, durable or not.
    pub(super) fn last_index(&self) -> u64 {
        self.wal.last(self.group).map_or(0, |last| last.index)
    }

    pub(crate) fn submit(&self, commands: Vec<Command>) -> Result<Pending, SubmitError> {
        self.batcher.submit(commands)
    }

    pub(crate) fn submit_at(
        &self,
        commands: Vec<Command>,
        durability: Durability,
        aftermath: &Arc<Aftermath>,
    ) -> Result<Pending, SubmitError> {
        self.batcher.submit_at(commands, durability, aftermath)
    }

    /// Bytes of commands that were not answered yet.
    pub(crate) fn in_flight_bytes(&self) -> u64 {
        self.batcher.in_flight_bytes()
    }

    /// Term and index of the last entry that was applied.
    pub(crate) fn applied(&self) -> (u64, u64) {
        let applied = self.driven.state().applied();
        applied.map_or((0, 0), |id| (id.leader_id.term, id.index))
    }

    pub(crate) fn status(&self) -> NodeStatus {
        let (term, leader) = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow_watched();
            (metrics.current_term, metrics.current_leader)
        };
        NodeStatus {
            term,
            leader,
            applied_index: self.driven.state().applied().map(|id| id.index),
            durable_index: self.wal.durable(self.group).map(|id| id.index),
            in_flight_bytes: self.batcher.in_flight_bytes(),
            no_space: self.wal.no_space() || self.disk.refusal().is_some(),
            disk_used_percent: self.disk.used_percent(),
            log_bytes: self.wal.bytes(),
        }
    }

    /// Stops taking commands, lets what was taken end, hands leadership over, and writes a
    /// checkpoint. The log stays open: other groups may need it.
    pub(crate) async fn stop(&self) {
        self.batcher
            .drain(Duration::from_millis(DRAIN_MS_MAX))
            .await;
        self.step_back().await;
        if let Err(error) = self.raft.shutdown().await {
            tracing::error!(%error, "the Raft group did not stop in order");
        }
        self.tasks.lock().await.shutdown().await;
        let limit = Duration::from_millis(LAST_CHECKPOINT_MS_MAX);
        let last = tokio::time::timeout(limit, self.checkpointer.checkpoint()).await;
        if last.is_err() {
            tracing::warn!(
                waited_ms = LAST_CHECKPOINT_MS_MAX,
                "stopped without a last checkpoint, the next start applies more of the log"
            );
        }
    }

    /// The same for a node that has its log for itself.
    #[cfg(test)]
    pub(crate) async fn shutdown(&self) {
        self.stop().await;
        let wal = Arc::clone(&self.wal);
        self.blocking.run(move || wal.close()).await.unwrap();
    }
}

/// Waits until this node leads and has applied everything that is in its log, the first entry
/// of its own term included.
async fn wait_until_recovered<A: Apply>(
    raft: &Raft<TypeConfig, Machine<A>>,
    wal: &Wal,
    group: u32,
) -> Result<(), NodeError> {
    let mut metrics = raft.metrics();
    let recovered = async {
        loop {
            {
                let now = metrics.borrow_and_update();
                if let Err(error) = &now.running_state {
                    return Err(NodeError::stopped("applying the log", error));
                }
                let leads = now.current_leader == Some(now.id) && now.state.is_leader();
                let last = wal.last(group).map(|id| (id.term, id.index));
                let applied = now.last_applied.map(|id| (id.leader_id.term, id.index));
                if leads
                    && applied >= last
                    && applied.map(|(term, _)| term) == Some(now.current_term)
                {
                    return Ok(());
                }
            }
            if metrics.changed().await.is_err() {
                return Err(NodeError::stopped("applying the log", "no longer running"));
            }
        }
    };
    let limit = Duration::from_millis(RECOVERY_MS_MAX);
    tokio::time::timeout(limit, recovered)
        .await
        .unwrap_or_else(|_| {
            Err(NodeError::Timeout {
                upto: wal.last(group).map_or(0, |id| id.index),
                waited_ms: RECOVERY_MS_MAX,
            })
        })
}

/// A group that has stopped by itself, because an entry cannot be applied or the log cannot
/// be read, answers nothing any more. Only a fresh start can help, so it must not look alive.
async fn watch_for_failure<A: Apply>(raft: Raft<TypeConfig, Machine<A>>, wal: Arc<Wal>) {
    let mut metrics = raft.metrics();
    loop {
        let running = metrics.borrow_and_update().running_state.clone();
        match running {
            Ok(()) => {}
            Err(Fatal::Stopped) => return,
            Err(error) => {
                let error = std::io::Error::other(error.to_string());
                return wal.fatal("the Raft group has stopped", &error);
            }
        }
        if metrics.changed().await.is_err() && metrics.borrow_watched().running_state.is_ok() {
            // It had no time to say why: it has panicked.
            let error = std::io::Error::other("it ended without a reason");
            return wal.fatal("the Raft group has stopped", &error);
        }
    }
}

pub(super) fn config(timing: Timing) -> Config {
    Config {
        cluster_name: "outrigger".to_owned(),
        heartbeat_interval: timing.heartbeat_interval_ms,
        election_timeout_min: timing.election_timeout_ms,
        election_timeout_max: timing.election_timeout_ms_max(),
        // The log is the store: it is purged when its messages have expired, not before.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: u64::MAX,
        // A leader that has crashed may have acknowledged entries, through followers, that its
        // own log lost. If it went on in the same term, it would give the same term and index
        // to other entries.
        enable_leader_restore: Some(is_planted_leader_restore()),
        // A node that has lost what it had acknowledged, against all promises of its disk, gets it
        // again. Without this the leader would stumble over it.
        allow_log_reversion: Some(true),
        // A node that was away does not force an election when it comes back.
        enable_pre_vote: Some(true),
        // A leader that hears no majority falls silent for a while, so that others can lead even
        // where they hear it.
        quorum_loss_probe_interval: Some(timing.silence_without_quorum_ms()),
        max_payload_entries: APPEND_ENTRIES_MAX,
        ..Config::default()
    }
}

/// False, but where a simulation makes this mistake to see whether it is noticed.
fn is_planted_leader_restore() -> bool {
    #[cfg(feature = "simulation")]
    return crate::simulation::is_planted(crate::simulation::Plant::LeaderRestore);
    #[cfg(not(feature = "simulation"))]
    false
}
