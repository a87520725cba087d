use std::{fmt, sync::Arc};

use outrigger_core::saga::ledger::OwnerId;

/// What an executor knows of the world besides what it is told: the time, chance, and who it
/// is. In a simulation all three follow from a seed.
#[derive(Clone)]
pub struct Surroundings {
    /// Who this executor is; another one every time that a process starts.
    pub owner: OwnerId,
    /// What jitter follows from.
    pub seed: u64,
    /// Milliseconds since the Unix epoch. It has to run with tokio's clock, by which waits
    /// are counted.
    pub now_ms: Arc<dyn Fn() -> u64 + Send + Sync>,
}

impl Surroundings {
    /// The real ones.
    #[must_use]
    pub fn real() -> Self {
        Self {
            owner: rand::random(),
            seed: rand::random(),
            now_ms: Arc::new(crate::clock::now_ms),
        }
    }
}

impl fmt::Debug for Surroundings {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("Surroundings")
            .field("owner", &format_args!("{:032x}", self.owner))
            .finish_non_exhaustive()
    }
}
