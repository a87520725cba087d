use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::{Courier, CourierError, FORWARD_BYTES_MAX, FORWARD_MESSAGES_MAX};
use super::{RETRY_MS, RETRY_MS_MAX};
use crate::command::{Command, ForwardedMessage, Outcome, Refusal};
use crate::log::Log;
use crate::outgoing::Outgoing;
use crate::submit::{Pending, SubmitError};
use crate::wal::ReadError;

/// Why a batch was not delivered, or is not noted as delivered.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Courier(#[from] CourierError),
    #[error(transparent)]
    Submit(#[from] SubmitError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("reading was interrupted")]
    Interrupted,
    #[error("the data group has messages up to {upto} only, {last} were delivered")]
    Fewer { upto: u64, last: u64 },
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// Delivers what waits for one data group, in order.
pub(super) struct Lane {
    log: Log,
    target: u32,
    courier: Arc<dyn Courier>,
    /// The target has everything up to this number.
    delivered: u64,
    /// The last note of it.
    noting: Option<Pending>,
}

impl Lane {
    pub(super) fn new(log: Log, target: u32, courier: Arc<dyn Courier>) -> Self {
        Self {
            log,
            target,
            courier,
            delivered: 0,
            noting: None,
        }
    }

    /// Works until it is dropped.
    pub(super) async fn run(mut self, mut more: watch::Receiver<u64>) {
        let mut retry_ms = RETRY_MS;
        loop {
            more.borrow_and_update();
            match self.step().await {
                Ok(true) => retry_ms = RETRY_MS,
                Ok(false) => {
                    retry_ms = RETRY_MS;
                    if more.changed().await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    let target = self.target;
                    // Once until it works again; elections are over soon.
                    if retry_ms == RETRY_MS {
                        tracing::warn!(%error, data_group = target, "messages wait to be forwarded");
                    }
                    // What was noted is gone from the log's state, all else is delivered again.
                    self.noting = None;
                    self.delivered = 0;
                    tokio::time::sleep(Duration::from_millis(retry_ms)).await;
                    retry_ms = retry_ms.saturating_mul(2).min(RETRY_MS_MAX);
                }
            }
        }
    }

    /// Delivers one batch, while what was delivered before it is being noted. False when
    /// nothing was left.
    async fn step(&mut self) -> Result<bool, Error> {
        let waiting = self.next();
        let Some(first) = waiting.first().map(|message| message.number) else {
            self.noted().await?;
            return Ok(false);
        };
        let last = waiting.last().map_or(first, |message| message.number);
        let messages = self.read(waiting).await?;
        let source = self.log.data_group();
        let delivering = self.courier.deliver(source, self.target, first, messages);
        let upto = delivering.await?;
        if upto < last {
            return Err(Error::Fewer { upto, last });
        }
        self.noted().await?;
        self.delivered = upto;
        let done = Command::ForwardDone {
            target: self.target,
            upto,
        };
        self.noting = Some(self.log.submit(vec![done])?);
        Ok(true)
    }

    /// The messages of the next batch, without their bytes.
    fn next(&self) -> Vec<Outgoing> {
        let mut next = self
            .log
            .outgoing(self.target, self.delivered, FORWARD_MESSAGES_MAX);
        let mut bytes = 0;
        let fits = next.iter().take_while(|message| {
            bytes += message.stored.length as usize;
            bytes <= FORWARD_BYTES_MAX
        });
        let fits = fits.count().max(1);
        next.truncate(fits);
        next
    }

    async fn read(&self, waiting: Vec<Outgoing>) -> Result<Vec<ForwardedMessage>, Error> {
        let log = self.log.clone();
        let reading = self.log.blocking().run(move || {
            let entries: Vec<_> = waiting.iter().map(|message| message.stored).collect();
            let stored = log.read(&entries)?;
            let messages = waiting.into_iter().zip(stored);
            let message = |(message, stored): (Outgoing, _)| ForwardedMessage {
                topic: message.topic,
                key_hash: message.stored.key_hash,
                tag_hash: message.stored.tag_hash,
                deliver_at_ms: message.deliver_at_ms,
                stored,
            };
            Ok(messages.map(message).collect())
        });
        reading.await.map_err(|_| Error::Interrupted)?
    }

    /// Waits until it is noted what was delivered.
    async fn noted(&mut self) -> Result<(), Error> {
        let Some(noting) = self.noting.take() else {
            return Ok(());
        };
        match noting.await?.pop() {
            Some(Outcome::Refused(refusal)) => Err(refusal.into()),
            Some(_) | None => Ok(()),
        }
    }
}
