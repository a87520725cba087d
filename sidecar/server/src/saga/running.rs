use std::time::Duration;

use outrigger_sdk::Stop;
use tokio::{task::JoinSet, time::timeout};

use super::{
    executor::{Executor, Handle, Options, Surroundings},
    messages::PortMessages,
    participant::{self, Caller},
    remote::{self, PortStore},
    service::{Opened, SagaService},
};
use crate::{config::Config, forward::Ways};

/// Sagas are carried out ten times between two signs of life of an owner that is gone.
const BEATS_PER_LEASE: u64 = 10;
/// How long giving sagas back may take when the log cannot be reached.
const GIVE_BACK_MS_MAX: u64 = 2_000;

/// What this process does about sagas, from the moment that it knows where they are.
pub(crate) struct Running {
    executor: Handle,
    stop: Stop,
    _tasks: JoinSet<()>,
}

impl Running {
    /// Opens the service, and carries sagas out unless the configuration says no. `address` is
    /// that of this process's own port.
    pub(crate) fn begin(config: &Config, ways: Ways, address: &str, service: &SagaService) -> Self {
        let store = PortStore::new(ways, remote::Options::default());
        let stop = Stop::new();
        let messages = PortMessages::new(address, store.clone(), stop.clone());
        let caller = Caller::new(participant::Options::default());
        let (executor, loop_) = Executor::new(
            std::sync::Arc::new(store.clone()),
            std::sync::Arc::new(caller.clone()),
            std::sync::Arc::new(messages.clone()),
            options(config),
            Surroundings::real(),
        );
        let mut tasks = JoinSet::new();
        if config.saga.execute {
            messages.tell(executor.clone());
            tasks.spawn(loop_.run());
            tasks.spawn(async move { caller.keep().await });
        }
        service.open(Opened {
            store,
            executor: executor.clone(),
        });
        Self {
            executor,
            stop,
            _tasks: tasks,
        }
    }

    /// Begins nothing more, lets calls under way end, but no longer than `limit`, and gives
    /// all sagas back.
    pub(crate) async fn drain(self, limit: Duration) {
        self.stop.stop();
        let most = limit + Duration::from_millis(GIVE_BACK_MS_MAX);
        if timeout(most, self.executor.drain(limit)).await.is_err() {
            tracing::warn!(
                "sagas could not be given back; others take them over when the lease is over"
            );
        }
    }
}

fn options(config: &Config) -> Options {
    let defaults = Options::default();
    Options {
        lease_ms: config.saga.lease_ms,
        beat_interval_ms: (config.saga.lease_ms / BEATS_PER_LEASE).max(1),
        sagas_max: config.saga.sagas_max,
        calls_max: config.saga.calls_max,
        ..defaults
    }
}
