//! The configuration: one typed tree, read once at the start.
//!
//! Sources, each overriding the one before: the embedded defaults, the file given with
//! `--config`, environment variables `OUTRIGGER_…` (`__` separates levels, as in
//! `OUTRIGGER_GUARDS__REDIS_URL`), and the command line.

mod address;
mod cluster;
mod database;
mod durability;
mod overrides;
mod saga;
mod sidecar;

use std::{collections::BTreeMap, path::PathBuf};

use figment::{
    Figment,
    providers::{Env, Format as _, Serialized, Toml},
};
use outrigger_core::limits;
use serde::{Deserialize, Serialize};

pub use self::{
    address::Address,
    cluster::{ClusterConfig, HostPort, Peers, node_address},
    database::{DatabaseKind, DatabaseUrl},
    durability::Durability,
    overrides::{ClusterOverrides, Overrides, SidecarOverrides},
    saga::SagaConfig,
    sidecar::SidecarConfig,
};

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A key that does not exist, a value of the wrong type, or a file that cannot be read.
    #[error("configuration: {0}")]
    Source(#[from] Box<figment::Error>),
    /// The file named on the command line is not there.
    #[error("configuration: --config {0}: no such file")]
    NoSuchFile(PathBuf),
    /// A value outside of what is allowed.
    #[error("configuration: {key} is {value}; allowed: {limit}")]
    Value {
        /// The key's full name.
        key: String,
        /// Its value.
        value: String,
        /// What is allowed.
        limit: String,
    },
}

impl Error {
    fn value(key: impl Into<String>, value: impl ToString, limit: impl Into<String>) -> Self {
        Self::Value {
            key: key.into(),
            value: value.to_string(),
            limit: limit.into(),
        }
    }
}

/// Everything that can be set.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The directory of the log store; made when it is missing.
    pub data: PathBuf,
    /// Where applications connect (gRPC). Loopback only.
    pub listen: Address,
    /// Where health and metrics are served (HTTP). Loopback only.
    pub http: Address,
    /// Topics and consumer groups come into being at their first use.
    pub auto_create: bool,
    /// Queues of a topic that was created without a number.
    pub default_queues: u32,
    /// When sends to such a topic are answered that do not choose it themselves.
    pub default_durability: Durability,
    /// How long a shutdown waits for calls and deliveries under way, in milliseconds.
    pub drain_ms: u64,
    /// Data groups, each with a leader of its own: 1 to 64. Fixed when the data directory, or the
    /// cluster, is made; not set: what it was made with, or else 1. All nodes have the same.
    pub groups: Option<u32>,
    /// The log store.
    pub log: LogConfig,
    /// What a request may contain.
    pub limits: LimitsConfig,
    /// Delivery to consumers.
    pub delivery: DeliveryConfig,
    /// Check-back, for every producer group that does not say otherwise.
    pub check_back: CheckBackConfig,
    /// Producer groups with settings of their own, by name.
    pub producer_groups: BTreeMap<String, ProducerGroupConfig>,
    /// Idempotency guards.
    pub guards: GuardsConfig,
    /// Sagas.
    pub saga: SagaConfig,
    /// A node's place in a cluster; for `outrigger node` only.
    pub cluster: ClusterConfig,
    /// A sidecar without a log of its own; for `outrigger sidecar` only.
    pub sidecar: SidecarConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data: PathBuf::from("outrigger-data"),
            listen: Address::loopback(7070),
            http: Address::loopback(7072),
            auto_create: true,
            default_queues: limits::QUEUES_COUNT_DEFAULT,
            default_durability: Durability::Synced,
            drain_ms: 10_000,
            groups: None,
            log: LogConfig::default(),
            limits: LimitsConfig::default(),
            delivery: DeliveryConfig::default(),
            check_back: CheckBackConfig::default(),
            producer_groups: BTreeMap::new(),
            guards: GuardsConfig::default(),
            saga: SagaConfig::default(),
            cluster: ClusterConfig::default(),
            sidecar: SidecarConfig::default(),
        }
    }
}

/// Settings of the log store.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// Size of a segment of the write-ahead log.
    pub segment_bytes: u64,
    /// Bytes accepted and not yet answered; more are refused with RESOURCE_EXHAUSTED.
    pub in_flight_bytes_max: u64,
    /// Recently written entries kept in memory for consumers at the tail.
    pub tail_cache_bytes_max: u64,
    /// Half-messages that wait for their verdict; more are refused.
    pub unresolved_transactions_max: u64,
    /// How long messages are kept after they became visible.
    pub retention_ms: u64,
    /// What the log may take on the disk before its oldest messages go; no limit when unset.
    pub retention_bytes: Option<u64>,
    /// From so much of the file system used on, in percent, a warning is logged; above 100 is
    /// never, as with the other two.
    pub disk_warn_percent: u64,
    /// From so much on, messages that have been consumed go before their time.
    pub disk_expire_percent: u64,
    /// From so much on, new messages are refused with RESOURCE_EXHAUSTED.
    pub disk_refuse_percent: u64,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            segment_bytes: 256 << 20,
            in_flight_bytes_max: 64 << 20,
            tail_cache_bytes_max: 32 << 20,
            unresolved_transactions_max: 1_000_000,
            retention_ms: 72 * 60 * 60 * 1_000,
            retention_bytes: None,
            disk_warn_percent: 75,
            disk_expire_percent: 85,
            disk_refuse_percent: 90,
        }
    }
}

/// Limits on what a request may contain.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// Of one message's body.
    pub body_bytes_max: usize,
    /// Of all properties of one message together.
    pub properties_bytes_max: usize,
    /// Properties of one message.
    pub properties_count_max: usize,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            body_bytes_max: limits::BODY_BYTES_MAX,
            properties_bytes_max: limits::PROPERTIES_BYTES_MAX,
            properties_count_max: limits::PROPERTIES_COUNT_MAX,
        }
    }
}

/// Delivery to consumers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeliveryConfig {
    /// How long a delivered message stays leased when the consumer does not say.
    pub invisible_ms: u64,
    /// Deliveries before a message becomes a dead letter.
    pub max_attempts: u32,
    /// Waits before the second, third, … delivery; the last one repeats.
    pub retry_delays_ms: Vec<u64>,
}

impl Default for DeliveryConfig {
    fn default() -> Self {
        Self {
            invisible_ms: limits::LEASE_MS_DEFAULT,
            max_attempts: limits::ATTEMPTS_COUNT_DEFAULT,
            retry_delays_ms: limits::RETRY_DELAYS_MS_DEFAULT.to_vec(),
        }
    }
}

/// Check-back.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CheckBackConfig {
    /// From Prepare to the first question.
    pub first_check_ms: u64,
    /// The longest wait between two questions.
    pub interval_ms_max: u64,
    /// From Prepare until the transaction is parked.
    pub park_after_ms: u64,
    /// Questions under way at once, for each database or group of applications.
    pub parallel_max: u32,
    /// How long a row of a fence table stays at least. The log remembers verdicts for a day
    /// longer.
    pub fence_retention_ms: u64,
}

impl Default for CheckBackConfig {
    fn default() -> Self {
        Self {
            first_check_ms: 1_000,
            interval_ms_max: 30_000,
            park_after_ms: 3_600_000,
            parallel_max: 1_024,
            fence_retention_ms: 7 * 86_400_000,
        }
    }
}

/// How one producer group's transactions are checked.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProducerGroupConfig {
    /// Who knows how a local transaction ended.
    pub check_back: CheckBackMode,
    /// Where the fence table is; needed for `table`.
    pub database: Option<DatabaseUrl>,
    /// Overrides `check_back.first_check_ms`.
    pub first_check_ms: Option<u64>,
    /// Overrides `check_back.park_after_ms`.
    pub park_after_ms: Option<u64>,
}

/// Who knows how a local transaction ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckBackMode {
    /// The application, over its CheckBack stream.
    #[default]
    Callback,
    /// The fence table in the application's database.
    Table,
}

/// Idempotency guards.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GuardsConfig {
    /// The backend of calls that do not name one.
    pub backend: GuardBackend,
    /// As in `redis://127.0.0.1:6379/0`.
    pub redis_url: Option<String>,
}

/// Where guards are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GuardBackend {
    /// In the log store.
    #[default]
    Embedded,
    /// In Redis.
    Redis,
}

impl Config {
    /// Reads every source and checks every value.
    ///
    /// # Errors
    ///
    /// Names the key, its value and where it came from.
    pub fn load(file: Option<PathBuf>, overrides: &Overrides) -> Result<Self, Error> {
        let mut figment = Figment::from(Serialized::defaults(Self::default()));
        if let Some(file) = file {
            if !file.is_file() {
                return Err(Error::NoSuchFile(file));
            }
            figment = figment.merge(Toml::file_exact(file));
        }
        let config: Self = figment
            .merge(Env::prefixed("OUTRIGGER_").filter(is_setting).split("__"))
            .merge(Serialized::defaults(overrides))
            .extract()
            .map_err(Box::new)?;
        config.check()?;
        Ok(config)
    }

    /// Checks that this is the configuration of a sidecar without a log of its own.
    ///
    /// # Errors
    ///
    /// When it names no node.
    pub fn check_sidecar(&self) -> Result<(), Error> {
        if self.sidecar.nodes.is_empty() {
            let limit = "at least one node of the cluster, as in --log 127.0.0.1:7070";
            return Err(Error::value("sidecar.nodes", "not set", limit));
        }
        Ok(())
    }

    /// Checks that this is the configuration of a process that is its whole cluster.
    ///
    /// # Errors
    ///
    /// When it is that of a node among others.
    pub fn check_alone(&self) -> Result<(), Error> {
        if self.cluster.is_empty() {
            return Ok(());
        }
        let limit = "nothing for `outrigger serve`, which is its whole cluster; \
                     `outrigger node` runs a node among others";
        Err(Error::value("cluster", "set", limit))
    }

    /// Checks that this is the configuration of a node among others.
    ///
    /// # Errors
    ///
    /// Names the key, its value and what is allowed.
    pub fn check_node(&self) -> Result<(), Error> {
        self.cluster.check()
    }

    fn check(&self) -> Result<(), Error> {
        self.sidecar.check()?;
        self.saga.check()?;
        self.listen.check_loopback("listen")?;
        self.http.check_loopback("http")?;
        self.check_sizes()?;
        self.check_delivery()?;
        self.check_producer_groups()?;
        if self.guards.backend == GuardBackend::Redis && self.guards.redis_url.is_none() {
            return Err(Error::value(
                "guards.redis_url",
                "not set",
                "a redis:// URL when guards.backend is \"redis\"",
            ));
        }
        Ok(())
    }

    fn check_sizes(&self) -> Result<(), Error> {
        let log = &self.log;
        within("log.segment_bytes", log.segment_bytes, 16 << 20, 1 << 30)?;
        within("log.retention_ms", log.retention_ms, 60_000, u64::MAX)?;
        within(
            "log.in_flight_bytes_max",
            log.in_flight_bytes_max,
            8 << 20,
            4 << 30,
        )?;
        within(
            "log.tail_cache_bytes_max",
            log.tail_cache_bytes_max,
            1 << 20,
            16 << 30,
        )?;
        within(
            "log.unresolved_transactions_max",
            log.unresolved_transactions_max,
            1,
            100_000_000,
        )?;
        if let Some(groups) = self.groups {
            within("groups", groups, 1, limits::DATA_GROUPS_COUNT_MAX)?;
        }
        within("default_queues", self.default_queues, 1, 1_024)?;
        within("drain_ms", self.drain_ms, 0, 600_000)?;
        let LimitsConfig {
            body_bytes_max,
            properties_bytes_max,
            properties_count_max,
        } = self.limits;
        within(
            "limits.body_bytes_max",
            body_bytes_max,
            1,
            limits::BODY_BYTES_MAX,
        )?;
        within(
            "limits.properties_bytes_max",
            properties_bytes_max,
            0,
            limits::PROPERTIES_BYTES_MAX,
        )?;
        within(
            "limits.properties_count_max",
            properties_count_max,
            0,
            limits::PROPERTIES_COUNT_MAX,
        )
    }

    fn check_delivery(&self) -> Result<(), Error> {
        const DAY_MS: u64 = 86_400_000;
        // The log remembers verdicts for a day; an hour more is for the difference of clocks.
        const FENCE_RETENTION_MS_MIN: u64 = DAY_MS + 3_600_000;
        let delivery = &self.delivery;
        within(
            "delivery.invisible_ms",
            delivery.invisible_ms,
            1_000,
            DAY_MS / 2,
        )?;
        within("delivery.max_attempts", delivery.max_attempts, 1, 1_000)?;
        within(
            "delivery.retry_delays_ms (its length)",
            delivery.retry_delays_ms.len() as u64,
            1,
            64,
        )?;
        for delay in &delivery.retry_delays_ms {
            within("delivery.retry_delays_ms", *delay, 0, 365 * DAY_MS)?;
        }
        let check_back = &self.check_back;
        within(
            "check_back.first_check_ms",
            check_back.first_check_ms,
            1,
            DAY_MS,
        )?;
        within(
            "check_back.interval_ms_max",
            check_back.interval_ms_max,
            1,
            DAY_MS,
        )?;
        within(
            "check_back.park_after_ms",
            check_back.park_after_ms,
            1_000,
            365 * DAY_MS,
        )?;
        within(
            "check_back.parallel_max",
            check_back.parallel_max,
            1,
            65_536,
        )?;
        within(
            "check_back.fence_retention_ms",
            check_back.fence_retention_ms,
            FENCE_RETENTION_MS_MIN,
            3_650 * DAY_MS,
        )
    }

    fn check_producer_groups(&self) -> Result<(), Error> {
        for (name, group) in &self.producer_groups {
            if let Err(error) = outrigger_core::name::check_group("producer_groups", name) {
                return Err(Error::value("producer_groups", name, error.to_string()));
            }
            if group.check_back == CheckBackMode::Table && group.database.is_none() {
                return Err(Error::value(
                    format!("producer_groups.{name}.database"),
                    "not set",
                    "a postgres:// or sqlite:// URL when check_back is \"table\"",
                ));
            }
        }
        Ok(())
    }
}

/// `OUTRIGGER_TEST_…` and `OUTRIGGER_LOG` steer the tests and the logging, not the sidecar.
fn is_setting(key: &figment::value::UncasedStr) -> bool {
    key != "log" && !key.starts_with("test_")
}

fn within<N: PartialOrd + std::fmt::Display>(
    key: &str,
    value: N,
    min: N,
    max: N,
) -> Result<(), Error> {
    if min <= value && value <= max {
        return Ok(());
    }
    Err(Error::value(key, value, format!("{min} to {max}")))
}
