//! From an operation of the protocol to a command for the log.

use std::sync::Arc;

use bytes::Bytes;
use outrigger_core::{limits::BATCH_COUNT_MAX, name};
use outrigger_log::{
    Durability, Log,
    command::{Command, NewMessage, ProducerSequence},
};
use outrigger_proto::stored::{self, operation::Kind};

use super::{
    durability, message,
    status::Failure,
    topics::{Place, Topics},
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

    /// What one operation comes to, whose topics are made on the way where allowed.
    pub(crate) async fn command_creating_topics(
        &self,
        kind: &Kind,
        durability: i32,
        sequence: Option<ProducerSequence>,
        known: &mut KnownTopic,
    ) -> Result<Translated, Failure> {
        loop {
            match self.command(kind, durability, sequence, known) {
                Ok(translated) => return Ok(translated),
                Err(Obstacle::Failure(failure)) => return Err(failure),
                Err(Obstacle::NoTopic(topic)) => {
                    self.topics.ensure_anywhere(&topic).await?;
                }
            }
        }
    }

    /// What one operation comes to; `durability` is what it asks for.
    pub(crate) fn command(
        &self,
        kind: &Kind,
        durability: i32,
        sequence: Option<ProducerSequence>,
        known: &mut KnownTopic,
    ) -> Result<Translated, Obstacle> {
        let synced = |command| Translated {
            command,
            durability: Durability::Synced,
        };
        match kind {
            Kind::Send(encoded) => {
                let chosen = durability::chosen(durability)?;
                let (command, of_topic) = self.send(encoded.clone(), sequence, known)?;
                Ok(Translated {
                    command,
                    durability: chosen.unwrap_or(of_topic),
                })
            }
            Kind::Prepare(request) => {
                durability::only_synced(durability)?;
                self.prepare(request, known).map(synced)
            }
            Kind::Resolve(request) => {
                durability::only_synced(durability)?;
                let id = transaction::id(&request.transaction_id)?;
                self.topics.check_transaction(id)?;
                let resolve = transaction::resolve(
                    &self.log,
                    id,
                    transaction::verdict(request.verdict)?,
                    request.payload.as_ref(),
                );
                Ok(synced(resolve?))
            }
        }
    }

    fn send(
        &self,
        encoded: Bytes,
        sequence: Option<ProducerSequence>,
        known: &mut KnownTopic,
    ) -> Result<(Command, Durability), Obstacle> {
        let Checked { message, place, .. } = self.message(encoded, known)?;
        if message.from_fence {
            return Err(Failure::invalid(
                "ILLEGAL_BODY_SOURCE",
                "message.body_source",
                "BODY_SOURCE_FROM_FENCE",
                "BODY_SOURCE_INLINE for a message outside of a transaction",
            )
            .into());
        }
        let of_topic = match &place {
            Place::Here(topic) => topic.durability(),
            // The log refuses it.
            Place::There(_) => Durability::Synced,
        };
        Ok((Command::Send { message, sequence }, of_topic))
    }

    fn prepare(
        &self,
        request: &stored::PrepareRequest,
        known: &mut KnownTopic,
    ) -> Result<Command, Obstacle> {
        let id = transaction::id(&request.transaction_id)?;
        self.topics.check_transaction(id)?;
        name::check_group("producer_group", &request.producer_group).map_err(Failure::from)?;
        let count = request.messages.len();
        if count == 0 || count > BATCH_COUNT_MAX {
            let limit = format!("1 to {}", BATCH_COUNT_MAX);
            return Err(Failure::invalid("ILLEGAL_MESSAGE_COUNT", "messages", count, limit).into());
        }
        let mut fingerprint = Fingerprint::new(&request.producer_group);
        let mut messages = Vec::with_capacity(count);
        for encoded in &request.messages {
            let checked = self.message(encoded.clone(), known)?;
            fingerprint.add(encoded, checked.unordered);
            messages.push(checked.message);
        }
        let fingerprint = fingerprint.finish();
        Ok(Command::Prepare {
            id,
            producer_group: request.producer_group.clone(),
            fingerprint,
            messages,
        })
    }

    fn message(&self, encoded: Bytes, known: &mut KnownTopic) -> Result<Checked, Obstacle> {
        let inspected = message::inspect(encoded, &self.limits, clock::now_ms())?;
        let place = known.find(inspected.topic(), &self.topics)?;
        let message = NewMessage {
            destination: place.destination(),
            key_hash: inspected.key_hash,
            tag_hash: inspected.tag_hash,
            deliver_at_ms: inspected.deliver_at_ms,
            from_fence: inspected.from_fence,
            stored: inspected.stored,
        };
        Ok(Checked {
            message,
            place,
            unordered: inspected.unordered,
        })
    }
}

/// A message that passed every check.
struct Checked {
    message: NewMessage,
    place: Place,
    /// Its properties have no order in the wire format.
    unordered: bool,
}

/// What an operation comes to.
pub(crate) struct Translated {
    pub(crate) command: Command,
    /// The level at which it is answered: its own, or else its topic's.
    pub(crate) durability: Durability,
}

/// The last topic that was looked up; batches mostly go to one.
#[derive(Default)]
pub(crate) struct KnownTopic(Option<Place>);

impl KnownTopic {
    fn find(&mut self, name: &str, topics: &Topics) -> Result<Place, Obstacle> {
        if let Some(known) = &self.0
            && known.is_of(name)
        {
            return Ok(known.clone());
        }
        let place = topics
            .place(name)
            .ok_or_else(|| Obstacle::NoTopic(name.to_owned()))?;
        self.0 = Some(place.clone());
        Ok(place)
    }
}
