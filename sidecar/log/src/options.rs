use std::path::PathBuf;
use std::sync::Arc;

use outrigger_core::placement::Placement;
use outrigger_core::saga::ledger;

use crate::blocking::Blocking;
use crate::cluster::ClusterOptions;
use crate::home::Home;
use crate::raft::{CheckpointLimits, DiskLimits, DiskWatch, NodeOptions, RetentionLimits, Timing};
use crate::state;
use crate::submit::{self, WallClock};
use crate::wal::{RECORD_BYTES_MAX, SEGMENT_BYTES_LIMIT, WalOptions};

/// A mark that no disk reaches.
const DISK_NEVER_PERCENT: u64 = 101;
/// The smallest segment.
const SEGMENT_BYTES_MIN: u64 = 4 << 10;
/// Room in a segment for what is not the body of an entry.
const SEGMENT_OVERHEAD_BYTES: u64 = 2 << 10;

/// How a node's log is opened. Begin with [`Options::new`] and change what must differ.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where everything is kept. Made when it does not exist.
    pub data_dir: PathBuf,
    /// Which node of the cluster this is. Recorded in a new data directory, and checked later.
    pub node_id: u64,
    /// The cluster. Recorded in a new data directory, and checked later; `None` accepts any and
    /// makes one up for a new directory.
    pub cluster_id: Option<String>,
    /// How many data groups there are, 1 to 64. Recorded in a new data directory, and checked
    /// later: it never changes. Limits are those of the node, for all data groups together,
    /// unless they say otherwise: what guards memory is divided evenly, so that no data group
    /// can take what the others need.
    pub groups: u32,
    /// The size of a segment of the write-ahead log, in bytes.
    pub wal_segment_bytes: u64,
    /// The size of the first segment, in bytes. It is written full of zeros before the log is
    /// ready. Each following one is four times as large, up to `wal_segment_bytes`.
    pub wal_first_segment_bytes: u64,
    /// The newest entries that are kept in memory, in bytes, of whatever data groups.
    pub tail_cache_bytes_max: u64,
    /// Commands that were not answered yet, in bytes, before more are refused. Divided among
    /// the data groups. A larger one passes alone.
    pub in_flight_bytes_max: u64,
    /// The largest command, in bytes as it is written.
    pub entry_bytes_max: u64,
    /// Commands that arrive together share an entry up to so many bytes.
    pub entry_bytes_target: u64,
    /// Derived state is written after so many bytes of commands. They are applied again after
    /// a crash. Divided among the data groups, each of which writes its own.
    pub checkpoint_interval_bytes: u64,
    /// Derived state is written after this time when anything has changed, in milliseconds.
    pub checkpoint_interval_ms: u64,
    /// Derived state is written as soon as so many of its records, places in queues included,
    /// are in memory only. Small commands make many records out of few bytes. Divided among the
    /// data groups.
    pub checkpoint_records_max: u64,
    /// How long messages are kept after they became visible, in milliseconds. Whole segments
    /// of the log go when everything in them is older and nothing in them is needed: messages
    /// without a verdict, delayed ones and dead letters stay, and so does all after them. What
    /// one data group needs holds the segment for all.
    pub retention_ms: u64,
    /// What the log may take on the disk, in bytes, before its oldest segments go whatever
    /// their age is and whichever data groups they are of. `None` is no limit.
    pub retention_bytes: Option<u64>,
    /// How often it is looked whether anything has expired, in milliseconds.
    pub retention_interval_ms: u64,
    /// From so much of the file system used on, in percent, a warning is logged. Without
    /// effect above 100, as are the following two.
    pub disk_warn_percent: u64,
    /// From so much on, segments go before their time when everything in them has been
    /// consumed.
    pub disk_expire_percent: u64,
    /// From so much on, no new messages are taken.
    pub disk_refuse_percent: u64,
    /// Transactions that wait for their verdict. In a cluster this and the eight following are
    /// those of the leader: it writes them into the log, from where they are in force on all
    /// nodes. They count in each data group by itself.
    pub unresolved_transactions_max: u64,
    /// How long the verdict of a resolved transaction can be asked for, in milliseconds.
    pub resolved_retention_ms: u64,
    /// Messages that wait until they are due.
    pub delayed_messages_max: u64,
    /// Producers whose sequence numbers are remembered.
    pub producers_max: u64,
    /// A producer that sent nothing for so long is forgotten, in milliseconds.
    pub producer_idle_ms: u64,
    /// Topics, dead-letter topics included.
    pub topics_max: u32,
    /// Consumer groups.
    pub consumer_groups_max: u32,
    /// Messages that wait until they are forwarded to other data groups, those of unresolved
    /// transactions included.
    pub outgoing_messages_max: u64,
    /// Sagas and their definitions.
    pub sagas: ledger::Limits,
    /// How often a leader is heard by the other nodes, in milliseconds.
    pub heartbeat_interval_ms: u64,
    /// How long a node waits for a leader before it stands for election, in milliseconds, at
    /// least; at most twice as long. The same on all nodes. What follows from it: for how long
    /// a leader may answer reads alone, and how soon one that hears nobody steps back.
    pub election_timeout_ms: u64,
    /// What the node needs to be one of several; `None` is a cluster of this node alone.
    pub cluster: Option<ClusterOptions>,
    /// Where the time of day comes from, with which entries are stamped.
    pub wall_clock: WallClock,
    /// Where the log does what blocks on the disk.
    pub blocking: Blocking,
}

/// An option outside its limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} is {value}, it must be {min} to {max}")]
pub struct OptionsError {
    /// The option.
    pub field: &'static str,
    /// Its value.
    pub value: u64,
    /// The smallest possible value.
    pub min: u64,
    /// The largest possible value.
    pub max: u64,
}

impl Options {
    /// The defaults, with everything kept in one directory.
    #[must_use]
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        let limits = state::Limits::default();
        Self {
            data_dir: data_dir.into(),
            node_id: 1,
            cluster_id: None,
            groups: 1,
            wal_segment_bytes: 256 << 20,
            wal_first_segment_bytes: 4 << 20,
            tail_cache_bytes_max: 32 << 20,
            in_flight_bytes_max: 64 << 20,
            entry_bytes_max: 12 << 20,
            entry_bytes_target: 256 << 10,
            checkpoint_interval_bytes: 64 << 20,
            checkpoint_interval_ms: 10_000,
            checkpoint_records_max: 500_000,
            retention_ms: 72 * 60 * 60 * 1_000,
            retention_bytes: None,
            retention_interval_ms: 2_000,
            disk_warn_percent: DISK_NEVER_PERCENT,
            disk_expire_percent: DISK_NEVER_PERCENT,
            disk_refuse_percent: DISK_NEVER_PERCENT,
            unresolved_transactions_max: limits.unresolved_transactions_max,
            resolved_retention_ms: limits.resolved_retention_ms,
            delayed_messages_max: limits.delayed_messages_max,
            producers_max: limits.producers_max,
            producer_idle_ms: limits.producer_idle_ms,
            topics_max: limits.topics_max,
            consumer_groups_max: limits.consumer_groups_max,
            outgoing_messages_max: limits.outgoing_messages_max,
            sagas: limits.sagas,
            heartbeat_interval_ms: 50,
            election_timeout_ms: 200,
            cluster: None,
            wall_clock: WallClock::default(),
            blocking: Blocking::default(),
        }
    }

    /// Checks each option that has limits.
    ///
    /// # Errors
    ///
    /// Names the first option outside its limits.
    pub fn check(&self) -> Result<(), OptionsError> {
        self.placement()?;
        let segment = self.wal_segment_bytes;
        let limit = u64::from(SEGMENT_BYTES_LIMIT);
        let entry_max = segment.saturating_sub(SEGMENT_OVERHEAD_BYTES);
        within("wal_segment_bytes", segment, SEGMENT_BYTES_MIN, limit)?;
        let first = self.wal_first_segment_bytes;
        within("wal_first_segment_bytes", first, SEGMENT_BYTES_MIN, segment)?;
        let entry = self.entry_bytes_max;
        within("entry_bytes_max", entry, 1, entry_max.min(RECORD_BYTES_MAX))?;
        within("entry_bytes_target", self.entry_bytes_target, 1, entry)?;
        let records = self.checkpoint_records_max;
        within("checkpoint_records_max", records, 1, u64::MAX)?;
        let interval = self.retention_interval_ms;
        within("retention_interval_ms", interval, 10, 3_600_000)?;
        within("retention_ms", self.retention_ms, 1, u64::MAX)?;
        let heartbeat = self.heartbeat_interval_ms;
        within("heartbeat_interval_ms", heartbeat, 5, 10_000)?;
        let election = self.election_timeout_ms;
        within("election_timeout_ms", election, 3 * heartbeat, 100_000)?;
        within("in_flight_bytes_max", self.in_flight_bytes_max, 1, limit)
    }

    pub(crate) fn wal(&self, owner: u64) -> WalOptions {
        WalOptions {
            segment_bytes: self.wal_segment_bytes as u32,
            first_segment_bytes: self.wal_first_segment_bytes as u32,
            tail_cache_bytes_max: self.tail_cache_bytes_max as usize,
            owner,
        }
    }

    /// Which data group has what.
    pub(crate) fn placement(&self) -> Result<Placement, OptionsError> {
        Placement::new(self.groups).map_err(|error| OptionsError {
            field: "groups",
            value: u64::from(error.groups),
            min: 1,
            max: u64::from(error.limit),
        })
    }

    /// Checks that there is one data group.
    pub(crate) fn check_single(&self) -> Result<(), OptionsError> {
        match self.groups {
            1 => Ok(()),
            groups => Err(Self::not_single(groups)),
        }
    }

    pub(crate) fn not_single(groups: u32) -> OptionsError {
        OptionsError {
            field: "groups",
            value: u64::from(groups),
            min: 1,
            max: 1,
        }
    }

    /// What each data group has of something that they divide evenly.
    fn share(&self, whole: u64) -> u64 {
        (whole / u64::from(self.groups.max(1))).max(1)
    }

    /// How full the disk is, for all data groups.
    pub(crate) fn disk_watch(&self) -> DiskWatch {
        let limits = DiskLimits {
            warn_percent: self.disk_warn_percent,
            expire_percent: self.disk_expire_percent,
            refuse_percent: self.disk_refuse_percent,
        };
        DiskWatch::new(&self.data_dir, limits)
    }

    /// Of one data group.
    pub(crate) fn node(&self, group: u32, home: &Home) -> NodeOptions {
        NodeOptions {
            group,
            node_id: self.node_id,
            instance: home.instance,
            cluster: self.cluster.clone(),
            timing: Timing {
                heartbeat_interval_ms: self.heartbeat_interval_ms,
                election_timeout_ms: self.election_timeout_ms,
            },
            wall_clock: self.wall_clock.clone(),
            blocking: self.blocking,
            limits: self.limits(),
            submit: submit::Limits {
                in_flight_bytes_max: self.share(self.in_flight_bytes_max),
                entry_bytes_max: self.entry_bytes_max,
                entry_bytes_target: self.entry_bytes_target,
            },
            checkpoint: CheckpointLimits {
                interval_bytes: self.share(self.checkpoint_interval_bytes),
                interval_ms: self.checkpoint_interval_ms,
                records_max: self.share(self.checkpoint_records_max),
                floor_interval_bytes: self.wal_segment_bytes,
            },
            retention: RetentionLimits {
                retention_ms: self.retention_ms,
                retention_bytes: self.retention_bytes,
                interval_ms: self.retention_interval_ms,
            },
            disk: Arc::clone(&home.disk),
        }
    }

    fn limits(&self) -> state::Limits {
        state::Limits {
            unresolved_transactions_max: self.unresolved_transactions_max,
            resolved_retention_ms: self.resolved_retention_ms,
            delayed_messages_max: self.delayed_messages_max,
            producers_max: self.producers_max,
            producer_idle_ms: self.producer_idle_ms,
            topics_max: self.topics_max,
            consumer_groups_max: self.consumer_groups_max,
            outgoing_messages_max: self.outgoing_messages_max,
            sagas: self.sagas.clone(),
        }
    }
}

fn within(field: &'static str, value: u64, min: u64, max: u64) -> Result<(), OptionsError> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(OptionsError {
        field,
        value,
        min,
        max,
    })
}
