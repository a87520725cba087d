//! Writing commands.

use bytes::Bytes;
use outrigger_core::half_message::Verdict;
use outrigger_core::lease::Event;
use outrigger_core::limits::TOPIC_CHARACTERS_MAX;
use outrigger_core::saga::ledger;

use super::batch::VERSION;
use super::{
    Command, ConsumerGroupConfig, Destination, ForwardedMessage, NewMessage, ProducerSequence,
    StartFrom,
};
use crate::codec::{put_bytes, put_number, put_u32, put_u64, put_u128};

/// What a command begins with.
pub(super) mod tag {
    pub(in super::super) const CREATE_TOPIC: u8 = 1;
    pub(in super::super) const CREATE_CONSUMER_GROUP: u8 = 2;
    pub(in super::super) const SEND: u8 = 3;
    pub(in super::super) const SKIP_SEQUENCE: u8 = 4;
    pub(in super::super) const PREPARE: u8 = 5;
    pub(in super::super) const RESOLVE: u8 = 6;
    pub(in super::super) const PARK: u8 = 7;
    pub(in super::super) const DECIDE: u8 = 8;
    pub(in super::super) const RESUME: u8 = 9;
    pub(in super::super) const PROGRESS: u8 = 10;
    pub(in super::super) const DEAD_LETTER: u8 = 11;
    pub(in super::super) const GUARD: u8 = 12;
    pub(in super::super) const DUE: u8 = 13;
    pub(in super::super) const EXPIRE: u8 = 14;
    pub(in super::super) const SET_TOPIC_DURABILITY: u8 = 15;
    /// Without the bound of outgoing messages.
    pub(in super::super) const SET_FIRST_LIMITS: u8 = 16;
    pub(in super::super) const SKIP_SPARSE_SEQUENCE: u8 = 17;
    pub(in super::super) const FORWARDED: u8 = 18;
    pub(in super::super) const FORWARD_DONE: u8 = 19;
    /// Without the bounds of sagas.
    pub(in super::super) const SET_SECOND_LIMITS: u8 = 20;
    pub(in super::super) const SAGA: u8 = 21;
    pub(in super::super) const SET_LIMITS: u8 = 22;
}

/// Which number of its producer a send has.
pub(super) mod numbered {
    pub(in super::super) const NOT: u8 = 0;
    /// The one after that of the operation before it.
    pub(in super::super) const DENSE: u8 = 1;
    /// The number of the operation before it stands beside it.
    pub(in super::super) const SPARSE: u8 = 2;
}

/// Which optional fields of a message follow.
pub(super) mod flag {
    pub(in super::super) const KEY: u8 = 1;
    pub(in super::super) const TAG: u8 = 2;
    pub(in super::super) const DELAYED: u8 = 4;
    pub(in super::super) const FROM_FENCE: u8 = 8;
    /// The number is that of another data group, and the name of a topic follows.
    pub(in super::super) const THERE: u8 = 16;
    pub(in super::super) const ALL: u8 = 31;
}

/// Which event of a queue follows.
pub(super) mod event {
    pub(in super::super) const ACKED: u8 = 1;
    pub(in super::super) const RETRY: u8 = 2;
}

/// The bounds of the state, at most.
const LIMITS_BYTES_MAX: usize = 13 * 10;
/// Tag, ids and numbers of a command that carries no bytes, at most.
const COMMAND_BYTES_MAX: usize = 64;
/// Everything of a message besides its stored bytes, at most.
const MESSAGE_BYTES_MAX: usize = 40;
/// One event of a queue, at most.
const EVENT_BYTES_MAX: usize = 28;

impl Command {
    /// How many bytes the command takes in an entry, at most.
    #[must_use]
    pub fn encoded_bytes_max(&self) -> usize {
        let message = |message: &NewMessage| {
            let name = match &message.destination {
                Destination::Here(_) => 0,
                Destination::There { topic, .. } => topic.len(),
            };
            MESSAGE_BYTES_MAX + name + message.stored.len()
        };
        let forwarded = |message: &ForwardedMessage| {
            MESSAGE_BYTES_MAX + message.topic.len() + message.stored.len()
        };
        let replacements = |replacements: &[(u32, Bytes)]| -> usize {
            replacements
                .iter()
                // As large as it is on its way to a topic of another data group.
                .map(|(_, stored)| MESSAGE_BYTES_MAX + TOPIC_CHARACTERS_MAX + stored.len())
                .sum()
        };
        COMMAND_BYTES_MAX
            + match self {
                Self::CreateTopic { name, .. } => name.len(),
                Self::CreateConsumerGroup { name, config } => {
                    name.len() + config.retry_delays_ms.len() * 10
                }
                Self::Send { message: sent, .. } => message(sent),
                Self::Prepare {
                    producer_group,
                    messages,
                    ..
                } => producer_group.len() + messages.iter().map(message).sum::<usize>(),
                Self::Resolve {
                    replacements: all, ..
                } => replacements(all),
                Self::Decide {
                    replacements: all,
                    reason,
                    ..
                } => replacements(all) + reason.len(),
                Self::Resume { reason, .. } => reason.len(),
                Self::Progress { events, .. } => events.len() * EVENT_BYTES_MAX,
                Self::Guard { scope, key, input } => {
                    scope.len() + key.len() + super::guard_input::encoded_bytes_max(input)
                }
                Self::Forwarded { messages, .. } => messages.iter().map(forwarded).sum(),
                Self::Saga(command) => command.encoded_bytes_max(),
                Self::SetLimits(_) => LIMITS_BYTES_MAX,
                Self::SetTopicDurability { .. }
                | Self::ForwardDone { .. }
                | Self::SkipSequence(_)
                | Self::Park { .. }
                | Self::DeadLetter { .. }
                | Self::Due { .. }
                | Self::Expire { .. } => 0,
            }
    }
}

pub(super) fn batch(out: &mut Vec<u8>, stamp_ms: u64, commands: &[Command]) {
    out.push(VERSION);
    put_u64(out, stamp_ms);
    put_number(out, commands.len() as u64);
    for command in commands {
        one(out, command);
    }
}

fn one(out: &mut Vec<u8>, command: &Command) {
    match command {
        Command::CreateTopic {
            name,
            queues,
            durability,
        } => {
            out.push(tag::CREATE_TOPIC);
            put_bytes(out, name.as_bytes());
            put_number(out, u64::from(*queues));
            out.push(durability.to_byte());
        }
        Command::SetTopicDurability { topic, durability } => {
            out.push(tag::SET_TOPIC_DURABILITY);
            put_number(out, u64::from(topic.0));
            out.push(durability.to_byte());
        }
        Command::CreateConsumerGroup { name, config } => {
            out.push(tag::CREATE_CONSUMER_GROUP);
            put_bytes(out, name.as_bytes());
            group_config(out, config);
        }
        Command::Send { message, sequence } => send(out, message, sequence.as_ref()),
        Command::SkipSequence(sequence) => {
            out.push(if sequence.is_dense() {
                tag::SKIP_SEQUENCE
            } else {
                tag::SKIP_SPARSE_SEQUENCE
            });
            producer_sequence(out, sequence);
        }
        Command::Prepare {
            id,
            producer_group,
            fingerprint,
            messages,
        } => {
            out.push(tag::PREPARE);
            put_u128(out, id.0);
            put_bytes(out, producer_group.as_bytes());
            put_u128(out, *fingerprint);
            put_number(out, messages.len() as u64);
            for each in messages {
                message(out, each);
            }
        }
        Command::Resolve {
            id,
            verdict,
            replacements,
        } => {
            out.push(tag::RESOLVE);
            put_u128(out, id.0);
            verdict_and_replacements(out, *verdict, replacements);
        }
        Command::Park { id } => {
            out.push(tag::PARK);
            put_u128(out, id.0);
        }
        Command::Decide {
            id,
            verdict,
            replacements,
            reason,
        } => {
            out.push(tag::DECIDE);
            put_u128(out, id.0);
            verdict_and_replacements(out, *verdict, replacements);
            put_bytes(out, reason.as_bytes());
        }
        Command::Resume { id, reason } => {
            out.push(tag::RESUME);
            put_u128(out, id.0);
            put_bytes(out, reason.as_bytes());
        }
        Command::Progress {
            group,
            topic,
            queue,
            events,
        } => {
            out.push(tag::PROGRESS);
            put_number(out, u64::from(group.0));
            put_number(out, u64::from(topic.0));
            put_number(out, u64::from(*queue));
            put_number(out, events.len() as u64);
            for event in events {
                queue_event(out, event);
            }
        }
        Command::DeadLetter {
            group,
            topic,
            queue,
            offset,
        } => {
            out.push(tag::DEAD_LETTER);
            put_number(out, u64::from(group.0));
            put_number(out, u64::from(topic.0));
            put_number(out, u64::from(*queue));
            put_number(out, *offset);
        }
        Command::Guard { scope, key, input } => {
            out.push(tag::GUARD);
            put_bytes(out, scope.as_bytes());
            put_bytes(out, key);
            super::guard_input::encode(out, input);
        }
        Command::Due { until_ms } => {
            out.push(tag::DUE);
            put_number(out, *until_ms);
        }
        Command::Expire { upto } => {
            out.push(tag::EXPIRE);
            put_number(out, *upto);
        }
        Command::Forwarded {
            source,
            first,
            queues,
            messages,
        } => {
            out.push(tag::FORWARDED);
            put_number(out, u64::from(*source));
            put_number(out, *first);
            put_number(out, u64::from(*queues));
            put_number(out, messages.len() as u64);
            for each in messages {
                forwarded(out, each);
            }
        }
        Command::ForwardDone { target, upto } => {
            out.push(tag::FORWARD_DONE);
            put_number(out, u64::from(*target));
            put_number(out, *upto);
        }
        Command::Saga(command) => {
            out.push(tag::SAGA);
            saga(out, command);
        }
        Command::SetLimits(limits) => {
            out.push(tag::SET_LIMITS);
            limits.write(out);
        }
    }
}

/// Behind its length in four bytes, so that it is written in its place at once.
fn saga(out: &mut Vec<u8>, command: &ledger::Command) {
    let at = out.len();
    put_u32(out, 0);
    let begin = out.len();
    command.put(out);
    // Every command is smaller than an entry may be, far below 4 GiB.
    let length = u32::try_from(out.len() - begin).unwrap_or(u32::MAX);
    if let Some(place) = out.get_mut(at..begin) {
        place.copy_from_slice(&length.to_le_bytes());
    }
}

fn send(out: &mut Vec<u8>, stored: &NewMessage, sequence: Option<&ProducerSequence>) {
    out.push(tag::SEND);
    match sequence {
        None => out.push(numbered::NOT),
        Some(sequence) => {
            out.push(if sequence.is_dense() {
                numbered::DENSE
            } else {
                numbered::SPARSE
            });
            producer_sequence(out, sequence);
        }
    }
    message(out, stored);
}

fn producer_sequence(out: &mut Vec<u8>, sequence: &ProducerSequence) {
    put_u128(out, sequence.producer);
    put_number(out, u64::from(sequence.epoch));
    put_number(out, sequence.sequence);
    if !sequence.is_dense() {
        put_number(out, sequence.after);
    }
}

pub(super) fn message(out: &mut Vec<u8>, message: &NewMessage) {
    let (number, name) = match &message.destination {
        Destination::Here(topic) => (topic.0, None),
        Destination::There { group, topic } => (*group, Some(topic)),
    };
    put_number(out, u64::from(number));
    let has = |flag, is| if is { flag } else { 0 };
    out.push(
        has(flag::KEY, message.key_hash != 0)
            | has(flag::TAG, message.tag_hash != 0)
            | has(flag::DELAYED, message.deliver_at_ms != 0)
            | has(flag::FROM_FENCE, message.from_fence)
            | has(flag::THERE, name.is_some()),
    );
    if let Some(name) = name {
        put_bytes(out, name.as_bytes());
    }
    if message.key_hash != 0 {
        put_u64(out, message.key_hash);
    }
    if message.tag_hash != 0 {
        put_u32(out, message.tag_hash);
    }
    if message.deliver_at_ms != 0 {
        put_number(out, message.deliver_at_ms);
    }
    put_bytes(out, &message.stored);
}

fn forwarded(out: &mut Vec<u8>, message: &ForwardedMessage) {
    put_bytes(out, message.topic.as_bytes());
    put_u64(out, message.key_hash);
    put_u32(out, message.tag_hash);
    put_number(out, message.deliver_at_ms);
    put_bytes(out, &message.stored);
}

pub(crate) fn group_config(out: &mut Vec<u8>, config: &ConsumerGroupConfig) {
    out.push(match config.start_from {
        StartFrom::First => 0,
        StartFrom::Last => 1,
    });
    put_number(out, u64::from(config.max_attempts));
    put_number(out, config.retry_delays_ms.len() as u64);
    for delay_ms in &config.retry_delays_ms {
        put_number(out, *delay_ms);
    }
}

pub(crate) fn verdict(out: &mut Vec<u8>, verdict: Verdict) {
    out.push(match verdict {
        Verdict::Commit => 1,
        Verdict::Rollback => 2,
    });
}

fn verdict_and_replacements(out: &mut Vec<u8>, decided: Verdict, replacements: &[(u32, Bytes)]) {
    verdict(out, decided);
    put_number(out, replacements.len() as u64);
    for (place, stored) in replacements {
        put_number(out, u64::from(*place));
        put_bytes(out, stored);
    }
}

fn queue_event(out: &mut Vec<u8>, event: &Event) {
    match event {
        Event::Acked { first, last } => {
            out.push(event::ACKED);
            put_number(out, *first);
            put_number(out, *last);
        }
        Event::Retry {
            offset,
            attempt,
            visible_at_ms,
        } => {
            out.push(event::RETRY);
            put_number(out, *offset);
            put_number(out, u64::from(*attempt));
            put_number(out, *visible_at_ms);
        }
    }
}
