//! The same promises, kept naively: everything in lists, nothing on disk.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use outrigger_core::guard::Record;
use outrigger_core::half_message::Verdict;
use outrigger_core::lease::Event;

use super::super::Limits;
use crate::command::{
    Command, ConsumerGroupId, Destination, ForwardedMessage, NewMessage, Outcome, ProducerSequence,
    Refusal, TopicId, TransactionId,
};

pub(super) struct Transaction {
    pub(super) fingerprint: u128,
    pub(super) parked: bool,
    pub(super) verdict: Option<(Verdict, u64)>,
    pub(super) messages: Vec<NewMessage>,
}

/// What is to be expected of the state machine.
pub(super) struct Model {
    pub(super) limits: Limits,
    pub(super) topics: Vec<String>,
    groups: Vec<String>,
    pub(super) visible: BTreeMap<u32, Vec<Bytes>>,
    delayed: Vec<(u64, NewMessage)>,
    pub(super) transactions: BTreeMap<TransactionId, Transaction>,
    producers: BTreeMap<u128, (u32, u64)>,
    refused: Vec<ProducerSequence>,
    /// By data group: messages with their numbers.
    pub(super) outgoing: BTreeMap<u32, Vec<(u64, NewMessage)>>,
    /// By data group: the last number of those that were sent there.
    last_outgoing: BTreeMap<u32, u64>,
    /// By data group: the last number of those that came from there.
    last_incoming: BTreeMap<u32, u64>,
    guards: BTreeMap<(String, Bytes), Record>,
    /// Acknowledged, or gone to the dead letters.
    done: BTreeSet<(ConsumerGroupId, TopicId, u32, u64)>,
    dead_letters: BTreeMap<ConsumerGroupId, usize>,
    /// Which entry has the bytes; every message has bytes of its own.
    pub(super) bodies: BTreeMap<Bytes, u64>,
    /// What has expired before the entry: the first offsets that are left.
    pub(super) first_offsets: BTreeMap<(TopicId, u32), u64>,
}

impl Model {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            limits: limits.clone(),
            topics: Vec::new(),
            groups: Vec::new(),
            visible: BTreeMap::new(),
            delayed: Vec::new(),
            transactions: BTreeMap::new(),
            producers: BTreeMap::new(),
            refused: Vec::new(),
            outgoing: BTreeMap::new(),
            last_outgoing: BTreeMap::new(),
            last_incoming: BTreeMap::new(),
            guards: BTreeMap::new(),
            done: BTreeSet::new(),
            dead_letters: BTreeMap::new(),
            bodies: BTreeMap::new(),
            first_offsets: BTreeMap::new(),
        }
    }

    /// Takes note of the bytes that an entry has.
    pub(super) fn note(&mut self, index: u64, commands: &[Command]) {
        let mut note = |stored: &Bytes| {
            self.bodies.insert(stored.clone(), index);
        };
        for command in commands {
            match command {
                Command::Send { message, .. } => note(&message.stored),
                Command::Prepare { messages, .. } => {
                    messages.iter().for_each(|one| note(&one.stored));
                }
                Command::Forwarded { messages, .. } => {
                    messages.iter().for_each(|one| note(&one.stored));
                }
                Command::Resolve { replacements, .. } | Command::Decide { replacements, .. } => {
                    replacements.iter().for_each(|(_, one)| note(one));
                }
                _ => {}
            }
        }
    }

    /// The oldest entry that is needed, whatever expires, dead letters aside.
    pub(super) fn oldest_needed(&self) -> Option<u64> {
        let unresolved = self.transactions.values();
        let unresolved = unresolved.filter(|one| one.verdict.is_none());
        let unresolved = unresolved.flat_map(|one| &one.messages);
        let delayed = self.delayed.iter().map(|(_, message)| message);
        let outgoing = self.outgoing.values().flatten().map(|(_, message)| message);
        let needed = unresolved.chain(delayed).chain(outgoing);
        needed.map(|one| self.bodies[&one.stored]).min()
    }

    /// Checks the answer to a command, and does what it says.
    pub(super) fn check(&mut self, now_ms: u64, command: &Command, outcome: &Outcome) {
        let retention_ms = self.limits.resolved_retention_ms;
        self.transactions.retain(|_, transaction| {
            let at_ms = transaction.verdict.map(|(_, at_ms)| at_ms);
            at_ms.is_none_or(|at_ms| now_ms < at_ms + retention_ms)
        });
        let expected = match command {
            Command::CreateTopic { name, .. } => Outcome::Topic(self.topic(name)),
            Command::SetTopicDurability { topic, .. } => {
                if (topic.0 as usize) < self.topics.len() {
                    Outcome::Topic(*topic)
                } else {
                    Outcome::Refused(Refusal::UnknownTopic(*topic))
                }
            }
            Command::CreateConsumerGroup { name, .. } => {
                let known = self.groups.iter().position(|known| known == name);
                let id = known.unwrap_or_else(|| {
                    self.groups.push(name.clone());
                    self.groups.len() - 1
                });
                Outcome::ConsumerGroup(ConsumerGroupId(id as u32))
            }
            Command::Send { message, sequence } => {
                self.send(now_ms, message, sequence.as_ref(), outcome)
            }
            Command::SkipSequence(sequence) => match self.admit(sequence) {
                Ok(true) => {
                    self.refused.push(*sequence);
                    Outcome::Applied
                }
                Ok(false) => Outcome::Duplicate,
                Err(refusal) => Outcome::Refused(refusal),
            },
            Command::Prepare {
                id,
                fingerprint,
                messages,
                ..
            } => self.prepare(*id, *fingerprint, messages),
            Command::Resolve {
                id,
                verdict,
                replacements,
            }
            | Command::Decide {
                id,
                verdict,
                replacements,
                ..
            } => self.resolve(now_ms, *id, *verdict, replacements),
            Command::Park { id } => self.park(*id),
            Command::Resume { id, .. } => self.resume(*id),
            Command::Guard { scope, key, input } => {
                let record = self.guards.entry((scope.clone(), key.clone()));
                Outcome::Guard(record.or_default().step(now_ms, input.clone()))
            }
            Command::Due { until_ms } => {
                self.due(*until_ms);
                Outcome::Applied
            }
            Command::DeadLetter { .. } | Command::Progress { .. } => outcome.clone(),
            Command::Expire { .. } => Outcome::Applied,
            Command::Forwarded {
                source,
                first,
                messages,
                ..
            } => self.forwarded(now_ms, *source, *first, messages),
            Command::ForwardDone { target, upto } => self.forward_done(*target, *upto),
            Command::SetLimits(limits) => {
                self.limits = limits.clone();
                Outcome::Applied
            }
            Command::Saga(_) => outcome.clone(),
        };
        assert_eq!(*outcome, expected, "{command:?}");
        if *outcome == Outcome::Applied {
            self.consume(command);
        }
    }

    fn consume(&mut self, command: &Command) {
        match command {
            Command::DeadLetter {
                group,
                topic,
                queue,
                offset,
            } if self
                .first_offsets
                .get(&(*topic, *queue))
                .is_none_or(|first| offset >= first)
                && self.done.insert((*group, *topic, *queue, *offset)) =>
            {
                *self.dead_letters.entry(*group).or_default() += 1;
                let name = format!("%DLQ%{}", self.groups[group.0 as usize]);
                self.topic(&name);
            }
            Command::Progress {
                group,
                topic,
                queue,
                events,
            } => {
                for event in events {
                    if let Event::Acked { first, last } = event {
                        let done = (*first..=*last).map(|at| (*group, *topic, *queue, at));
                        self.done.extend(done);
                    }
                }
            }
            _ => {}
        }
    }

    /// Dead letters of a group that starts at the first message.
    pub(super) fn dead_letters(&self, group: ConsumerGroupId) -> usize {
        self.dead_letters.get(&group).copied().unwrap_or(0)
    }

    pub(super) fn unresolved(&self) -> usize {
        let waiting = self.transactions.values();
        waiting.filter(|one| one.verdict.is_none()).count()
    }

    fn topic(&mut self, name: &str) -> TopicId {
        let known = self.topics.iter().position(|known| known == name);
        let id = known.unwrap_or_else(|| {
            self.topics.push(name.to_owned());
            self.topics.len() - 1
        });
        TopicId(id as u32)
    }

    fn admit(&mut self, sequence: &ProducerSequence) -> Result<bool, Refusal> {
        let known = self.producers.get(&sequence.producer).copied();
        let (current, high_water) = known.unwrap_or((sequence.epoch, 0));
        if sequence.epoch < current {
            return Err(Refusal::StaleEpoch {
                epoch: sequence.epoch,
                current,
            });
        }
        let done = if sequence.epoch > current {
            0
        } else {
            high_water
        };
        let number = |one: &ProducerSequence| (one.producer, one.epoch, one.sequence);
        let refused = |one| number(one) == number(sequence);
        if self.refused.iter().any(refused) {
            let sequence = sequence.sequence;
            return Err(Refusal::RefusedBefore { sequence });
        }
        if sequence.sequence <= done {
            return Ok(false);
        }
        if sequence.after > done {
            return Err(Refusal::SequenceGap {
                expected: done + 1,
                got: sequence.sequence,
            });
        }
        let now = (sequence.epoch, sequence.sequence);
        self.producers.insert(sequence.producer, now);
        Ok(true)
    }

    fn send(
        &mut self,
        now_ms: u64,
        message: &NewMessage,
        sequence: Option<&ProducerSequence>,
        outcome: &Outcome,
    ) -> Outcome {
        match sequence.map(|sequence| self.admit(sequence)) {
            None | Some(Ok(true)) => {}
            Some(Ok(false)) => return Outcome::Duplicate,
            Some(Err(refusal)) => return Outcome::Refused(refusal),
        }
        let topic = match &message.destination {
            Destination::Here(topic) => *topic,
            Destination::There { group, topic } => {
                self.refused.extend(sequence);
                return Outcome::Refused(Refusal::ElsewhereWithoutTransaction {
                    group: *group,
                    topic: topic.to_string(),
                });
            }
        };
        if topic.0 as usize >= self.topics.len() {
            self.refused.extend(sequence);
            return Outcome::Refused(Refusal::UnknownTopic(topic));
        }
        if message.deliver_at_ms > now_ms && !self.room_for_delayed(1) {
            self.refused.extend(sequence);
            return Outcome::Refused(Refusal::TooManyDelayed {
                limit: self.limits.delayed_messages_max,
            });
        }
        self.deliver(now_ms, message.clone());
        if message.deliver_at_ms > now_ms {
            return Outcome::Scheduled;
        }
        // Where it went is checked through what is visible in the end.
        assert!(matches!(outcome, Outcome::Sent { .. }), "{outcome:?}");
        outcome.clone()
    }

    pub(super) fn room_for_delayed(&self, more: usize) -> bool {
        let waiting = self.transactions.values();
        let waiting = waiting.filter(|one| one.verdict.is_none());
        let reserved: usize = waiting.map(|one| delayed(&one.messages)).sum();
        (self.delayed.len() + reserved + more) as u64 <= self.limits.delayed_messages_max
    }

    pub(super) fn room_for_outgoing(&self, more: usize) -> bool {
        let waiting = self.transactions.values();
        let waiting = waiting.filter(|one| one.verdict.is_none());
        let reserved: usize = waiting.map(|one| outgoing(&one.messages)).sum();
        let outgoing = self.outgoing.values().map(Vec::len).sum::<usize>();
        (outgoing + reserved + more) as u64 <= self.limits.outgoing_messages_max
    }

    pub(super) fn deliver(&mut self, now_ms: u64, message: NewMessage) {
        if let Destination::There { group, .. } = message.destination {
            let number = self.last_outgoing.entry(group).or_default();
            *number += 1;
            let outgoing = self.outgoing.entry(group).or_default();
            outgoing.push((*number, message));
        } else if message.deliver_at_ms > now_ms {
            self.delayed.push((message.deliver_at_ms, message));
        } else {
            self.show(message);
        }
    }

    fn show(&mut self, message: NewMessage) {
        let visible = self.visible.entry(here(&message).0).or_default();
        visible.push(message.stored);
    }

    fn forwarded(
        &mut self,
        now_ms: u64,
        source: u32,
        first: u64,
        messages: &[ForwardedMessage],
    ) -> Outcome {
        let last = self.last_incoming.get(&source).copied().unwrap_or(0);
        if first > last + 1 {
            return Outcome::Refused(Refusal::ForwardGap {
                source_group: source,
                expected: last + 1,
                got: first,
            });
        }
        for message in messages.iter().skip((last + 1 - first) as usize) {
            let destination = Destination::Here(self.topic(&message.topic));
            *self.last_incoming.entry(source).or_default() += 1;
            let message = NewMessage {
                destination,
                key_hash: message.key_hash,
                tag_hash: message.tag_hash,
                deliver_at_ms: message.deliver_at_ms,
                from_fence: false,
                stored: message.stored.clone(),
            };
            self.deliver(now_ms, message);
        }
        let upto = self.last_incoming.get(&source).copied().unwrap_or(0);
        Outcome::Forwarded { upto }
    }

    fn forward_done(&mut self, target: u32, upto: u64) -> Outcome {
        let last = self.last_outgoing.get(&target).copied().unwrap_or(0);
        if upto > last {
            return Outcome::Refused(Refusal::NeverOutgoing { target, upto, last });
        }
        let outgoing = self.outgoing.entry(target).or_default();
        outgoing.retain(|(number, _)| *number > upto);
        Outcome::Applied
    }

    fn due(&mut self, until_ms: u64) {
        self.delayed.sort_by_key(|(due_ms, _)| *due_ms);
        let waiting = self
            .delayed
            .iter()
            .position(|(due_ms, _)| *due_ms > until_ms);
        let later = self
            .delayed
            .split_off(waiting.unwrap_or(self.delayed.len()));
        for (_, message) in std::mem::replace(&mut self.delayed, later) {
            self.show(message);
        }
    }
}

pub(super) fn delayed(messages: &[NewMessage]) -> usize {
    let here = messages.iter().filter(|one| !one.destination.is_there());
    here.filter(|one| one.deliver_at_ms != 0).count()
}

pub(super) fn outgoing(messages: &[NewMessage]) -> usize {
    let there = messages.iter().filter(|one| one.destination.is_there());
    there.count()
}

fn here(message: &NewMessage) -> TopicId {
    match message.destination {
        Destination::Here(topic) => topic,
        Destination::There { .. } => panic!("elsewhere: {message:?}"),
    }
}
