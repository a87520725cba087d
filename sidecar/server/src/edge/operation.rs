//! From an operation of the protocol to a command for the log.

use std::sync::Arc;

use bytes::Bytes;
use outrigger_core::{limits::BATCH_COUNT_MAX, name};
use outrigger_log::{
    Log,
    command::{Command, NewMessage, ProducerSequence, TopicId},
};
use outrigger_proto::stored::{self, operation::Kind};

use super::{
    message,
    status::Failure,
    topics::Topics,
    transaction::{self, Fingerprint},
};
use crate::{clock, config::LimitsConfig};

/// Why an operation did not become a command.
pub(crate) enum Obstacle {
    /// It is wrong and will stay wrong.
    Failure(Failure),
    /// Its topic has to be made first.
    NoTopic(String),
}

impl From<Failure> for Obstacle {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

/// Checks operations and translates them; cheap to clone.
#[derive(Clone)]
pub(crate) struct Operations {
    log: Log,
    topics: Topics,
    limits: Arc<LimitsConfig>,
}

impl Operations {
    pub(crate) fn new(log: Log, topics: Topics, limits: Arc<LimitsConfig>) -> Self {
        Self {
            log,
            topics,
            limits,
        }
    }

    /// The command for one operation, whose topics are made on the way where allowed.
    pub(crate) async fn command_creating_topics(
        &self,
        kind: &Kind,
        sequence: Option<ProducerSequence>,
        known: &mut KnownTopic,
    ) -> Result<Command, Failure> {
        loop {
            match self.command(kind, sequence, known) {
                Ok(command) => return Ok(command),
                Err(Obstacle::Failure(failure)) => return Err(failure),
                Err(Obstacle::NoTopic(topic)) => {
                    self.topics.ensure(&topic).await?;
                }
            }
        }
    }

    /// The command for one operation.
    pub(crate) fn command(
        &self,
        kind: &Kind,
        sequence: Option<ProducerSequence>,
        known: &mut KnownTopic,
    ) -> Result<Command, Obstacle> {
        match kind {
            Kind::Send(encoded) => self.send(encoded.clone(), sequence, known),
            Kind::Prepare(request) => self.prepare(request, known),
            Kind::Resolve(request) => Ok(transaction::resolve(
                &self.log,
                transaction::id(&request.transaction_id)?,
                transaction::verdict(request.verdict)?,
                request.payload.as_ref(),
            )?),
        }
    }

    fn send(
        &self,
        encoded: Bytes,
        sequence: Option<ProducerSequence>,
        known: &mut KnownTopic,
    ) -> Result<Command, Obstacle> {
        let message = self.message(encoded, known)?.0;
        if message.from_fence {
            return Err(Failure::invalid(
                "ILLEGAL_BODY_SOURCE",
                "message.body_source",
                "BODY_SOURCE_FROM_FENCE",
                "BODY_SOURCE_INLINE for a message outside of a transaction",
            )
            .into());
        }
        Ok(Command::Send { message, sequence })
    }

    fn prepare(
        &self,
        request: &stored::PrepareRequest,
        known: &mut KnownTopic,
    ) -> Result<Command, Obstacle> {
        let id = transaction::id(&request.transaction_id)?;
        name::check_group("producer_group", &request.producer_group).map_err(Failure::from)?;
        let count = request.messages.len();
        if count == 0 || count > BATCH_COUNT_MAX {
            let limit = format!("1 to {}", BATCH_COUNT_MAX);
            return Err(Failure::invalid("ILLEGAL_MESSAGE_COUNT", "messages", count, limit).into());
        }
        let mut fingerprint = Fingerprint::new(&request.producer_group);
        let mut messages = Vec::with_capacity(count);
        for encoded in &request.messages {
            let (message, unordered) = self.message(encoded.clone(), known)?;
            fingerprint.add(encoded, unordered);
            messages.push(message);
        }
        let fingerprint = fingerprint.finish();
        Ok(Command::Prepare {
            id,
            producer_group: request.producer_group.clone(),
            fingerprint,
            messages,
        })
    }

    /// The message, and whether its properties have an order.
    fn message(
        &self,
        encoded: Bytes,
        known: &mut KnownTopic,
    ) -> Result<(NewMessage, bool), Obstacle> {
        let inspected = message::inspect(encoded, &self.limits, clock::now_ms())?;
        let topic = known.find(inspected.topic(), &self.topics)?;
        let message = NewMessage {
            topic,
            key_hash: inspected.key_hash,
            tag_hash: inspected.tag_hash,
            deliver_at_ms: inspected.deliver_at_ms,
            from_fence: inspected.from_fence,
            stored: inspected.stored,
        };
        Ok((message, inspected.unordered))
    }
}

/// The last topic that was looked up; batches mostly go to one.
#[derive(Default)]
pub(crate) struct KnownTopic(Option<(String, TopicId)>);

impl KnownTopic {
    fn find(&mut self, name: &str, topics: &Topics) -> Result<TopicId, Obstacle> {
        if let Some((known, id)) = &self.0
            && known == name
        {
            return Ok(*id);
        }
        let id = topics
            .find(name)
            .ok_or_else(|| Obstacle::NoTopic(name.to_owned()))?;
        self.0 = Some((name.to_owned(), id));
        Ok(id)
    }
}
