use std::{pin::pin, time::Duration};

use outrigger_proto::stored::Delivery;
use tokio::time::{Instant, timeout_at};

use super::{GroupInfo, Service, frames::next_frame, member::Batch, service::Wanted};
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
        let until = Instant::now() + Duration::from_millis(wait_ms.max(ANSWER_MS));
        let mut membership = self
            .join(&group, wanted, invisible_ms, max_messages)
            .await?;
        let mut drained = pin!(self.drained());
        let mut deliveries = Vec::new();
        loop {
            let batch = tokio::select! {
                () = &mut drained => break,
                batch = timeout_at(until, membership.batches.recv()) => batch,
            };
            let Ok(Some(mut batch)) = batch else {
                break;
            };
            let unsent = self.read(&mut batch, &mut deliveries).await?;
            if !deliveries.is_empty() {
                break;
            }
            membership.credits.put_back(unsent);
            membership.wake();
        }
        // Nothing more, except what was leased in the meantime.
        membership.stop().await;
        while let Ok(mut batch) = membership.batches.try_recv() {
            self.read(&mut batch, &mut deliveries).await?;
        }
        Ok(deliveries)
    }

    async fn read(&self, batch: &mut Batch, to: &mut Vec<Delivery>) -> Result<u32, Failure> {
        let mut unsent = 0;
        while !batch.messages.is_empty() {
            to.extend(next_frame(&*self.store, &self.options, batch, &mut unsent).await?);
        }
        Ok(unsent)
    }
}

/// How long the workers have to answer a call that does not want to wait.
const ANSWER_MS: u64 = 5;
