use std::{sync::Arc, time::Duration};

use outrigger_core::saga::{Record, event::UndoCause};
use outrigger_proto::v1::SagaInfo;
use tokio::{sync::OwnedSemaphorePermit, time::Instant};
use tonic::{Code, Status};

use super::{Opened, SagaService, WAITERS_MAX, failure};
use crate::{
    edge::status::Failure,
    saga::{executor::Waited, shown},
};

impl SagaService {
    /// Waits until a saga has ended or is parked, until the time is over, or until the process
    /// ends, and says how it is then.
    pub(super) async fn wait_for(&self, saga: &str, limit: Duration) -> Result<SagaInfo, Status> {
        let opened = self.opened().await?;
        if limit.is_zero() {
            return opened.info(saga).await;
        }
        let place = self.place_to_wait()?;
        self.wait_at(place, &opened, saga, limit).await
    }

    /// So that those who wait do not become too many.
    pub(super) fn place_to_wait(&self) -> Result<OwnedSemaphorePermit, Failure> {
        Arc::clone(&self.waiters).try_acquire_owned().map_err(|_| {
            let message = format!("{WAITERS_MAX} calls wait for sagas already");
            Failure::new(Code::ResourceExhausted, "TOO_MANY_SAGA_WAITERS", message)
                .with("limit", WAITERS_MAX)
        })
    }

    pub(super) async fn wait_at(
        &self,
        _place: OwnedSemaphorePermit,
        opened: &Opened,
        saga: &str,
        limit: Duration,
    ) -> Result<SagaInfo, Status> {
        let until = Instant::now() + limit;
        let waited = tokio::select! {
            waited = opened.executor.wait(saga, until) => waited.map_err(Failure::from)?,
            () = self.closing.cancelled() => Waited::TimeOver,
        };
        match waited {
            Waited::Settled(record) if !is_told_by_history(&record) => {
                Ok(shown::info(&record, &[], true))
            }
            Waited::Settled(_) | Waited::TimeOver => opened.info(saga).await,
            Waited::NotFound => Err(failure::no_saga(saga).into()),
        }
    }
}

fn is_told_by_history(record: &Record) -> bool {
    matches!(record.undo_cause(), Some(UndoCause::ByHand))
}
