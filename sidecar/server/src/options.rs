//! From the configuration to the options of each part.

use outrigger_core::{limits, saga::ledger};
use outrigger_log as log;

use crate::{
    check_back,
    config::{CheckBackMode, Config, GuardBackend, ProducerGroupConfig},
    delivery, guards,
};

/// A verdict is remembered for so much longer than a fence row is kept: a Prepare that is
/// repeated must not be taken for a new one while its row still says commit.
const FENCE_MARGIN_MS: u64 = 86_400_000;

/// Of the log store.
pub(crate) fn log(config: &Config) -> log::Options {
    log::Options {
        wal_segment_bytes: config.log.segment_bytes,
        in_flight_bytes_max: config.log.in_flight_bytes_max,
        tail_cache_bytes_max: config.log.tail_cache_bytes_max,
        unresolved_transactions_max: config.log.unresolved_transactions_max,
        resolved_retention_ms: config.check_back.fence_retention_ms + FENCE_MARGIN_MS,
        retention_ms: config.log.retention_ms,
        retention_bytes: config.log.retention_bytes,
        disk_warn_percent: config.log.disk_warn_percent,
        disk_expire_percent: config.log.disk_expire_percent,
        disk_refuse_percent: config.log.disk_refuse_percent,
        sagas: ledger::Limits {
            sagas_max: config.saga.running_max,
            definitions_max: config.saga.definitions_max,
            retention_ms: config.saga.retention_ms,
            ..ledger::Limits::default()
        },
        ..log::Options::new(&config.data)
    }
}

/// Of check-back.
pub(crate) fn check_back(config: &Config) -> check_back::Options {
    let defaults = check_back::Options::default();
    check_back::Options {
        groups: config
            .producer_groups
            .iter()
            .map(|(name, group)| (name.clone(), producer_group(group)))
            .collect(),
        schedule: outrigger_core::check_back::Options {
            first_check_ms: config.check_back.first_check_ms,
            backoff_cap_ms: config.check_back.interval_ms_max,
            park_after_ms: config.check_back.park_after_ms,
            parallel_per_target_max: config.check_back.parallel_max as usize,
            ..defaults.schedule
        },
        collect: check_back::CollectOptions {
            retention_ms: config.check_back.fence_retention_ms,
            ..defaults.collect
        },
        ..defaults
    }
}

fn producer_group(group: &ProducerGroupConfig) -> check_back::GroupOptions {
    let mode = match (group.check_back, &group.database) {
        (CheckBackMode::Table, Some(database)) => check_back::Mode::Table {
            database: database.expose().to_owned(),
        },
        (CheckBackMode::Table, None) | (CheckBackMode::Callback, _) => check_back::Mode::Callback,
    };
    check_back::GroupOptions {
        mode,
        first_check_ms: group.first_check_ms,
        park_after_ms: group.park_after_ms,
    }
}

/// Of the guards.
pub(crate) fn guards(config: &Config) -> Result<guards::Options, guards::Error> {
    let redis = config
        .guards
        .redis_url
        .as_deref()
        .map(guards::RedisOptions::new)
        .transpose()?;
    Ok(guards::Options {
        default: match config.guards.backend {
            GuardBackend::Embedded => guards::Backend::Embedded,
            GuardBackend::Redis => guards::Backend::Redis,
        },
        redis,
    })
}

/// Of delivery.
pub(crate) fn delivery(config: &Config) -> delivery::Options {
    delivery::Options {
        auto_create: config.auto_create,
        queues_default: config.default_queues,
        durability_default: config.default_durability.into(),
        max_attempts: config.delivery.max_attempts,
        retry_delays_ms: config.delivery.retry_delays_ms.clone(),
        invisible_ms: config.delivery.invisible_ms,
        ..delivery::Options::default()
    }
}

/// The largest request: a full message and what is around it, or a batch of smaller ones.
pub(crate) fn request_bytes_max(config: &Config) -> usize {
    const BATCH_BYTES_MAX: usize = 12 << 20;
    let message = config.limits.body_bytes_max + config.limits.properties_bytes_max;
    (message + limits::KEYS_COUNT_MAX * 1_024).max(BATCH_BYTES_MAX)
}
