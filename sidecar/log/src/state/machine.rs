//! The replicated state machine: what every command does.
//!
//! It reads no clock and draws no random numbers: the only time it knows is the stamp of
//! the entry that it applies, and it walks through nothing whose order differs between
//! replicas. The same entries give the same state and the same answers everywhere.

use std::sync::{Arc, PoisonError, RwLock};

use outrigger_core::saga::ledger::Ledger;

use super::catalog::Catalog;
use super::delayed::{DUE_MESSAGES_MAX, Delayed, DelayedMessage};
use super::groups::Groups;
use super::guards::Guards;
use super::incoming::Incoming;
use super::outgoing::Outgoing;
use super::producers::{Admission, Producers};
use super::topics::Topics;
use super::transactions::Transactions;
use super::{Limits, StateError};
use crate::command::{
    Batch, Durability, Outcome, ProducerSequence, RecordedCommand, RecordedDestination,
    RecordedMessage, Refusal, Span, TOPIC_QUEUES_MAX, TopicId,
};
use crate::derived::Store;
use crate::place::Place;
use crate::queue_index::{Entry, Files};

/// The entry that is being applied.
#[derive(Clone, Copy, Debug)]
pub(super) struct Context {
    /// Its place in the log.
    pub(super) index: u64,
    /// The leader's time; never goes back.
    pub(super) stamp_ms: u64,
}

impl Context {
    /// Where a part of the entry's body is.
    pub(super) fn place(&self, span: Span) -> Place {
        Place {
            index: self.index,
            offset: span.offset,
        }
    }
}

/// Everything that is replicated.
pub(crate) struct Machine {
    pub(super) limits: Limits,
    /// The stamp of the last entry.
    pub(super) stamp_ms: u64,
    /// Entries of the log up to this index are not needed any more.
    pub(super) floor: u64,
    pub(super) topics: Topics,
    pub(super) groups: Groups,
    pub(super) producers: Producers,
    pub(super) transactions: Transactions,
    pub(super) delayed: Delayed,
    pub(super) outgoing: Outgoing,
    pub(super) incoming: Incoming,
    pub(super) guards: Guards,
    pub(super) sagas: Ledger,
    pub(super) store: Store,
    pub(super) files: Arc<Files>,
    /// The same topics and groups, for readers that must not wait for the state machine.
    pub(super) catalog: Arc<RwLock<Catalog>>,
}

impl Machine {
    /// Applies one entry and answers each of its commands.
    ///
    /// An error means that the derived state on disk cannot be read: no answer can be
    /// trusted then, and the node has to stop.
    pub(crate) fn apply(
        &mut self,
        index: u64,
        batch: Batch<'_>,
    ) -> Result<Vec<Outcome>, StateError> {
        self.stamp_ms = self.stamp_ms.max(batch.stamp_ms);
        let context = Context {
            index,
            stamp_ms: self.stamp_ms,
        };
        self.producers.expire(self.stamp_ms, &self.limits);
        let mut outcomes = Vec::with_capacity(batch.commands.len());
        for command in batch.commands {
            outcomes.push(self.one(&context, command)?);
        }
        self.topics.publish();
        self.outgoing.publish();
        Ok(outcomes)
    }

    /// How many records no checkpoint has taken yet. They are in memory only.
    pub(super) fn unwritten_records(&self) -> u64 {
        self.topics.unwritten()
            + self.groups.unwritten()
            + self.producers.unwritten()
            + self.delayed.unwritten()
            + self.outgoing.unwritten()
            + self.incoming.unwritten()
            + self.transactions.unwritten()
            + self.guards.len() as u64
            + self.sagas.unwritten()
    }

    fn one(
        &mut self,
        context: &Context,
        command: RecordedCommand<'_>,
    ) -> Result<Outcome, StateError> {
        Ok(match command {
            RecordedCommand::CreateTopic {
                name,
                queues,
                durability,
            } => {
                let created = self.create_topic(context, name, queues, durability);
                or_refused(created.map(Outcome::Topic))
            }
            RecordedCommand::SetTopicDurability { topic, durability } => {
                if self.topics.set_durability(topic, durability) {
                    Outcome::Topic(topic)
                } else {
                    Outcome::Refused(Refusal::UnknownTopic(topic))
                }
            }
            RecordedCommand::CreateConsumerGroup { name, config } => {
                self.create_group(context, name, config)
            }
            RecordedCommand::Send { message, sequence } => {
                self.send(context, &message, sequence.as_ref())
            }
            RecordedCommand::SkipSequence(sequence) => self.skip_sequence(context, &sequence),
            RecordedCommand::Prepare {
                id,
                producer_group,
                fingerprint,
                messages,
            } => self.prepare(context, id, producer_group, fingerprint, &messages)?,
            RecordedCommand::Resolve {
                id,
                verdict,
                replacements,
            } => self.resolve(context, id, verdict, &replacements)?,
            RecordedCommand::Park { id } => self.park(context, id)?,
            RecordedCommand::Decide {
                id,
                verdict,
                replacements,
                reason,
            } => self.decide(context, id, verdict, &replacements, reason)?,
            RecordedCommand::Resume { id, reason } => self.resume(context, id, reason)?,
            RecordedCommand::Progress {
                group,
                topic,
                queue,
                events,
            } => or_refused(self.progress(group, topic, queue, &events)),
            RecordedCommand::DeadLetter {
                group,
                topic,
                queue,
                offset,
            } => self.dead_letter(context, group, topic, queue, offset)?,
            RecordedCommand::Guard { scope, key, input } => {
                self.guard(context, scope, key, input)?
            }
            RecordedCommand::Due { until_ms } => self.due(context, until_ms),
            RecordedCommand::Expire { upto } => self.expire(context, upto)?,
            RecordedCommand::Forwarded {
                source,
                first,
                queues,
                messages,
            } => self.forwarded(context, source, first, queues, &messages),
            RecordedCommand::ForwardDone { target, upto } => self.forward_done(target, upto),
            RecordedCommand::Saga(command) => self.saga(context, *command)?,
            RecordedCommand::SetLimits(limits) => {
                self.sagas.set_limits(limits.sagas.clone());
                self.limits = limits;
                Outcome::Applied
            }
        })
    }

    /// Makes a topic, or tells the id of the one that there is.
    pub(super) fn create_topic(
        &mut self,
        context: &Context,
        name: &str,
        queues: u32,
        durability: Durability,
    ) -> Result<TopicId, Refusal> {
        if let Some(id) = self.topics.named(name) {
            return Ok(id);
        }
        if queues == 0 || queues > TOPIC_QUEUES_MAX {
            return Err(Refusal::QueuesOutOfBounds {
                queues,
                limit: TOPIC_QUEUES_MAX,
            });
        }
        if self.topics.len() >= self.limits.topics_max as usize {
            return Err(Refusal::TooManyTopics {
                limit: self.limits.topics_max,
            });
        }
        Ok(self.make_topic(context, name, queues, durability))
    }

    /// Makes a topic that does not exist, whatever the limits say.
    pub(super) fn make_topic(
        &mut self,
        context: &Context,
        name: &str,
        queues: u32,
        durability: Durability,
    ) -> TopicId {
        let created = self
            .topics
            .create(name, queues, durability, context.stamp_ms, &self.files);
        let id = created.topic.id;
        let mut catalog = self.catalog.write().unwrap_or_else(PoisonError::into_inner);
        catalog.add_topic(created);
        id
    }

    fn send(
        &mut self,
        context: &Context,
        message: &RecordedMessage<'_>,
        sequence: Option<&ProducerSequence>,
    ) -> Outcome {
        if let Some(sequence) = sequence {
            match self
                .producers
                .admit(sequence, context.stamp_ms, &self.limits)
            {
                Admission::New => {}
                Admission::Duplicate => return Outcome::Duplicate,
                Admission::Refused(refusal) => return Outcome::Refused(refusal),
            }
        }
        let topic = match self.check_send(context, message) {
            Ok(topic) => topic,
            Err(refusal) => {
                if let Some(sequence) = sequence {
                    self.producers.refuse(sequence);
                }
                return Outcome::Refused(refusal);
            }
        };
        let stored = DelayedMessage {
            topic,
            key_hash: message.key_hash,
            tag_hash: message.tag_hash,
            place: context.place(message.span),
            length: message.span.length,
        };
        match self.deliver(context, stored, message.deliver_at_ms) {
            Some((queue, offset)) => Outcome::Sent { queue, offset },
            None => Outcome::Scheduled,
        }
    }

    /// Where the message goes, if it may.
    fn check_send(
        &self,
        context: &Context,
        message: &RecordedMessage<'_>,
    ) -> Result<TopicId, Refusal> {
        let topic = match message.destination {
            RecordedDestination::Here(topic) => topic,
            RecordedDestination::There { group, topic } => {
                let topic = topic.to_owned();
                return Err(Refusal::ElsewhereWithoutTransaction { group, topic });
            }
        };
        if self.topics.get(topic).is_none() {
            return Err(Refusal::UnknownTopic(topic));
        }
        let limit = self.limits.delayed_messages_max;
        if message.deliver_at_ms > context.stamp_ms && !self.delayed.has_room(1, limit) {
            return Err(Refusal::TooManyDelayed { limit });
        }
        Ok(topic)
    }

    /// Makes a message visible, or lets it wait until it is due.
    pub(super) fn deliver(
        &mut self,
        context: &Context,
        message: DelayedMessage,
        deliver_at_ms: u64,
    ) -> Option<(u32, u64)> {
        if deliver_at_ms > context.stamp_ms {
            self.delayed.schedule(deliver_at_ms, message);
            return None;
        }
        let entry = Entry {
            place: message.place,
            length: message.length,
            tag_hash: message.tag_hash,
            key_hash: message.key_hash,
            time_ms: context.stamp_ms,
        };
        self.topics.append(message.topic, entry)
    }

    fn skip_sequence(&mut self, context: &Context, sequence: &ProducerSequence) -> Outcome {
        match self
            .producers
            .admit(sequence, context.stamp_ms, &self.limits)
        {
            Admission::New => {
                self.producers.refuse(sequence);
                Outcome::Applied
            }
            Admission::Duplicate => Outcome::Duplicate,
            Admission::Refused(refusal) => Outcome::Refused(refusal),
        }
    }

    fn due(&mut self, context: &Context, until_ms: u64) -> Outcome {
        for _ in 0..DUE_MESSAGES_MAX {
            let Some(message) = self.delayed.take_due(until_ms) else {
                break;
            };
            self.deliver(context, message, 0);
        }
        Outcome::Applied
    }
}

/// A refusal is an answer as well.
pub(super) fn or_refused(result: Result<Outcome, Refusal>) -> Outcome {
    result.unwrap_or_else(Outcome::Refused)
}
