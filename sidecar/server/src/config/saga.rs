use outrigger_core::limits::SAGA_LEASE_MS_MAX;
use serde::{Deserialize, Serialize};

use super::{Error, within};

/// Sagas.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SagaConfig {
    /// This process carries sagas out: it calls participants, and takes over the sagas of
    /// processes that are gone. One that does not still starts them for others and answers
    /// everything about them.
    pub execute: bool,
    /// How long a process may be silent before others take over its sagas. It says that it is
    /// alive ten times as often.
    pub lease_ms: u64,
    /// Sagas that this process has in memory with all that belongs to them; further ones are
    /// asleep, or left to others.
    pub sagas_max: usize,
    /// Calls of participants that this process has under way.
    pub calls_max: usize,
    /// Sagas of a data group that have not ended; more are refused. For processes that keep
    /// the log.
    pub running_max: u64,
    /// Versions of definitions; more are refused. For processes that keep the log.
    pub definitions_max: u64,
    /// How long a saga is kept after it has ended. For processes that keep the log.
    pub retention_ms: u64,
}

impl Default for SagaConfig {
    fn default() -> Self {
        Self {
            execute: true,
            lease_ms: 10_000,
            sagas_max: 32_768,
            calls_max: 4_096,
            running_max: 1_000_000,
            definitions_max: 2_000,
            retention_ms: 7 * 86_400_000,
        }
    }
}

impl SagaConfig {
    pub(super) fn check(&self) -> Result<(), Error> {
        const DAY_MS: u64 = 86_400_000;
        within("saga.lease_ms", self.lease_ms, 1_000, SAGA_LEASE_MS_MAX)?;
        within("saga.sagas_max", self.sagas_max, 1, 1_000_000)?;
        within("saga.calls_max", self.calls_max, 1, 65_536)?;
        within("saga.running_max", self.running_max, 1, 100_000_000)?;
        within("saga.definitions_max", self.definitions_max, 1, 100_000)?;
        within(
            "saga.retention_ms",
            self.retention_ms,
            1_000,
            3_650 * DAY_MS,
        )
    }
}
