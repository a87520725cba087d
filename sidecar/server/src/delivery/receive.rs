use std::{pin::pin, time::Duration};

use outrigger_proto::stored::Delivery;
use tokio::time::{Instant, timeout_at};

use super::{
    GroupInfo, Service, frames::next_frame, member::Batch, service::Wanted, session::Membership,
};
use crate::edge::status::Failure;

/// One Receive call, checked.
pub(crate) struct Receive {
    pub(crate) group: GroupInfo,
    pub(crate) wanted: Vec<Wanted>,
    pub(crate) max_messages: u32,
    pub(crate) wait_ms: u64,
    pub(crate) invisible_ms: u64,
}

impl Service {
    /// Leases messages, and waits for the first one. What comes with it is returned with
    /// it; nothing else is waited for.
    pub(crate) async fn receive(&self, receive: Receive) -> Result<Vec<Delivery>, Failure> {
        let Receive {
            group,
            wanted,
            max_messages,
            wait_ms,
            invisible_ms,
        } = receive;
        let mut membership = self
            .join(&group, wanted, invisible_ms, max_messages)
            .await?;
        let mut deliveries = Vec::new();
        if wait_ms > 0 {
            let until = Instant::now() + Duration::from_millis(wait_ms);
            self.wait(&mut membership, until, &mut deliveries).await?;
        }
        // A worker delivers what there is before it takes the next call, so whatever could
        // be had has come when it has been left.
        membership.stop().await;
        while let Ok(mut batch) = membership.batches.try_recv() {
            self.read(&mut batch, &mut deliveries).await?;
        }
        Ok(deliveries)
    }

    /// Waits for the first message, the end of the time, or a drain.
    async fn wait(
        &self,
        membership: &mut Membership,
        until: Instant,
        deliveries: &mut Vec<Delivery>,
    ) -> Result<(), Failure> {
        let mut drained = pin!(self.drained());
        while deliveries.is_empty() {
            let batch = tokio::select! {
                _ = &mut drained => return Ok(()),
                batch = timeout_at(until, membership.batches.recv()) => batch,
            };
            let Ok(Some(mut batch)) = batch else {
                return Ok(());
            };
            let unsent = self.read(&mut batch, deliveries).await?;
            membership.credits.put_back(unsent);
            membership.wake();
        }
        Ok(())
    }

    async fn read(&self, batch: &mut Batch, to: &mut Vec<Delivery>) -> Result<u32, Failure> {
        let mut unsent = 0;
        while !batch.messages.is_empty() {
            to.extend(next_frame(&*self.store, &self.options, batch, &mut unsent).await?);
        }
        Ok(unsent)
    }
}
