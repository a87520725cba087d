//! Reading commands.

use bytes::Bytes;
use outrigger_core::half_message::Verdict;
use outrigger_core::lease::Event;
use outrigger_core::saga::ledger;

use super::batch::{Batch, VERSION};
use super::encode::{event, flag, numbered, tag};
use super::recorded::Span;
use super::{
    ConsumerGroupConfig, ConsumerGroupId, Durability, ProducerSequence, RecordedCommand,
    RecordedDestination, RecordedForwarded, RecordedMessage, StartFrom, TopicId, TransactionId,
};
use crate::codec::{CodecError, Reader};
use crate::state::Limits;

/// The shortest command: a tag and one number.
const COMMAND_BYTES_MIN: usize = 2;
/// The shortest message: topic, flags and an empty body's length.
const MESSAGE_BYTES_MIN: usize = 3;
/// The shortest forwarded message: its name's length, hashes, time, and an empty body's length.
const FORWARDED_BYTES_MIN: usize = 15;
/// The shortest replacement: its place and an empty body's length.
const REPLACEMENT_BYTES_MIN: usize = 2;
/// The shortest event: a tag and two numbers.
const EVENT_BYTES_MIN: usize = 3;

pub(super) fn batch(body: &[u8]) -> Result<Batch<'_>, CodecError> {
    let mut reader = Reader::new(body);
    let found = reader.u8()?;
    if found != VERSION {
        return Err(CodecError::Version {
            found,
            newest: VERSION,
        });
    }
    let stamp_ms = reader.u64()?;
    let count = reader.count("commands", COMMAND_BYTES_MIN)?;
    let commands = several(count, || one(&mut reader))?;
    reader.finish()?;
    Ok(Batch { stamp_ms, commands })
}

/// Grows with what is really there, so that a forged count costs nothing.
fn several<T>(
    count: usize,
    mut read: impl FnMut() -> Result<T, CodecError>,
) -> Result<Vec<T>, CodecError> {
    const AT_ONCE: usize = 4_096;
    let mut all = Vec::with_capacity(count.min(AT_ONCE));
    for _ in 0..count {
        all.push(read()?);
    }
    Ok(all)
}

fn one<'a>(reader: &mut Reader<'a>) -> Result<RecordedCommand<'a>, CodecError> {
    match reader.u8()? {
        tag::CREATE_TOPIC => Ok(RecordedCommand::CreateTopic {
            name: reader.text("topic")?,
            queues: reader.number_u32("queues")?,
            durability: durability(reader)?,
        }),
        tag::SET_TOPIC_DURABILITY => Ok(RecordedCommand::SetTopicDurability {
            topic: TopicId(reader.number_u32("topic")?),
            durability: durability(reader)?,
        }),
        tag::CREATE_CONSUMER_GROUP => Ok(RecordedCommand::CreateConsumerGroup {
            name: reader.text("consumer_group")?,
            config: group_config(reader)?,
        }),
        tag::SEND => {
            let sequence = match reader.u8()? {
                numbered::NOT => None,
                numbered::DENSE => Some(dense_sequence(reader)?),
                numbered::SPARSE => Some(sparse_sequence(reader)?),
                value => return Err(unknown("sequence", value)),
            };
            let message = message(reader)?;
            Ok(RecordedCommand::Send { message, sequence })
        }
        tag::SKIP_SEQUENCE => dense_sequence(reader).map(RecordedCommand::SkipSequence),
        tag::SKIP_SPARSE_SEQUENCE => sparse_sequence(reader).map(RecordedCommand::SkipSequence),
        tag::PREPARE => prepare(reader),
        tag::RESOLVE => Ok(RecordedCommand::Resolve {
            id: transaction(reader)?,
            verdict: verdict(reader)?,
            replacements: replacements(reader)?,
        }),
        tag::PARK => Ok(RecordedCommand::Park {
            id: transaction(reader)?,
        }),
        tag::DECIDE => Ok(RecordedCommand::Decide {
            id: transaction(reader)?,
            verdict: verdict(reader)?,
            replacements: replacements(reader)?,
            reason: reader.text("reason")?,
        }),
        tag::RESUME => Ok(RecordedCommand::Resume {
            id: transaction(reader)?,
            reason: reader.text("reason")?,
        }),
        tag::PROGRESS => Ok(RecordedCommand::Progress {
            group: ConsumerGroupId(reader.number_u32("group")?),
            topic: TopicId(reader.number_u32("topic")?),
            queue: reader.number_u32("queue")?,
            events: {
                let count = reader.count("events", EVENT_BYTES_MIN)?;
                several(count, || queue_event(reader))?
            },
        }),
        tag::DEAD_LETTER => Ok(RecordedCommand::DeadLetter {
            group: ConsumerGroupId(reader.number_u32("group")?),
            topic: TopicId(reader.number_u32("topic")?),
            queue: reader.number_u32("queue")?,
            offset: reader.number("offset")?,
        }),
        tag::GUARD => Ok(RecordedCommand::Guard {
            scope: reader.text("scope")?,
            key: reader.bytes("key")?,
            input: super::guard_input::decode(reader)?,
        }),
        tag::DUE => Ok(RecordedCommand::Due {
            until_ms: reader.number("until_ms")?,
        }),
        tag::EXPIRE => Ok(RecordedCommand::Expire {
            upto: reader.number("upto")?,
        }),
        tag::FORWARDED => Ok(RecordedCommand::Forwarded {
            source: reader.number_u32("source")?,
            first: reader.number("first")?,
            queues: reader.number_u32("queues")?,
            messages: {
                let count = reader.count("messages", FORWARDED_BYTES_MIN)?;
                several(count, || forwarded(reader))?
            },
        }),
        tag::FORWARD_DONE => Ok(RecordedCommand::ForwardDone {
            target: reader.number_u32("target")?,
            upto: reader.number("upto")?,
        }),
        tag::SET_FIRST_LIMITS => Limits::read_first(reader).map(RecordedCommand::SetLimits),
        tag::SET_SECOND_LIMITS => Limits::read_second(reader).map(RecordedCommand::SetLimits),
        tag::SAGA => {
            let length = reader.u32()?;
            let bytes = Bytes::copy_from_slice(reader.take(length as usize)?);
            let field = "saga command";
            let command = ledger::Command::decode(bytes);
            let command = command.map_err(|_| CodecError::Part { field })?;
            Ok(RecordedCommand::Saga(Box::new(command)))
        }
        tag::SET_LIMITS => Limits::read(reader).map(RecordedCommand::SetLimits),
        value => Err(unknown("command", value)),
    }
}

fn unknown(field: &'static str, value: u8) -> CodecError {
    CodecError::Unknown {
        field,
        value: u64::from(value),
    }
}

pub(crate) fn durability(reader: &mut Reader<'_>) -> Result<Durability, CodecError> {
    let byte = reader.u8()?;
    Durability::from_byte(byte).ok_or_else(|| unknown("durability", byte))
}

fn prepare<'a>(reader: &mut Reader<'a>) -> Result<RecordedCommand<'a>, CodecError> {
    let id = transaction(reader)?;
    let producer_group = reader.text("producer_group")?;
    let fingerprint = reader.u128()?;
    let count = reader.count("messages", MESSAGE_BYTES_MIN)?;
    Ok(RecordedCommand::Prepare {
        id,
        producer_group,
        fingerprint,
        messages: several(count, || message(reader))?,
    })
}

fn transaction(reader: &mut Reader<'_>) -> Result<TransactionId, CodecError> {
    reader.u128().map(TransactionId)
}

fn dense_sequence(reader: &mut Reader<'_>) -> Result<ProducerSequence, CodecError> {
    let producer = reader.u128()?;
    let epoch = reader.number_u32("epoch")?;
    let sequence = reader.number("sequence")?;
    Ok(ProducerSequence::dense(producer, epoch, sequence))
}

fn sparse_sequence(reader: &mut Reader<'_>) -> Result<ProducerSequence, CodecError> {
    let sequence = dense_sequence(reader)?;
    let after = reader.number("after")?;
    Ok(ProducerSequence { after, ..sequence })
}

fn message<'a>(reader: &mut Reader<'a>) -> Result<RecordedMessage<'a>, CodecError> {
    let number = reader.number_u32("topic")?;
    let flags = reader.u8()?;
    if flags & !flag::ALL != 0 {
        return Err(unknown("message flags", flags));
    }
    let has = |flag| flags & flag != 0;
    let destination = if has(flag::THERE) {
        RecordedDestination::There {
            group: number,
            topic: reader.text("topic")?,
        }
    } else {
        RecordedDestination::Here(TopicId(number))
    };
    Ok(RecordedMessage {
        destination,
        key_hash: if has(flag::KEY) { reader.u64()? } else { 0 },
        tag_hash: if has(flag::TAG) { reader.u32()? } else { 0 },
        deliver_at_ms: if has(flag::DELAYED) {
            reader.number("deliver_at_ms")?
        } else {
            0
        },
        from_fence: has(flag::FROM_FENCE),
        span: span(reader)?,
    })
}

fn forwarded<'a>(reader: &mut Reader<'a>) -> Result<RecordedForwarded<'a>, CodecError> {
    Ok(RecordedForwarded {
        topic: reader.text("topic")?,
        key_hash: reader.u64()?,
        tag_hash: reader.u32()?,
        deliver_at_ms: reader.number("deliver_at_ms")?,
        span: span(reader)?,
    })
}

fn span(reader: &mut Reader<'_>) -> Result<Span, CodecError> {
    let stored = reader.bytes("stored")?;
    let fits = |value| {
        u32::try_from(value).map_err(|_| CodecError::Overflow {
            field: "place of a message",
        })
    };
    Ok(Span {
        offset: fits(reader.position() - stored.len())?,
        length: fits(stored.len())?,
    })
}

fn replacements(reader: &mut Reader<'_>) -> Result<Vec<(u32, Span)>, CodecError> {
    let count = reader.count("replacements", REPLACEMENT_BYTES_MIN)?;
    several(count, || Ok((reader.number_u32("message")?, span(reader)?)))
}

pub(crate) fn group_config(reader: &mut Reader<'_>) -> Result<ConsumerGroupConfig, CodecError> {
    let start_from = match reader.u8()? {
        0 => StartFrom::First,
        1 => StartFrom::Last,
        value => return Err(unknown("start_from", value)),
    };
    let max_attempts = reader.number_u32("max_attempts")?;
    let count = reader.count("retry_delays_ms", 1)?;
    Ok(ConsumerGroupConfig {
        start_from,
        max_attempts,
        retry_delays_ms: several(count, || reader.number("retry_delays_ms"))?,
    })
}

pub(crate) fn verdict(reader: &mut Reader<'_>) -> Result<Verdict, CodecError> {
    match reader.u8()? {
        1 => Ok(Verdict::Commit),
        2 => Ok(Verdict::Rollback),
        value => Err(unknown("verdict", value)),
    }
}

fn queue_event(reader: &mut Reader<'_>) -> Result<Event, CodecError> {
    match reader.u8()? {
        event::ACKED => Ok(Event::Acked {
            first: reader.number("first")?,
            last: reader.number("last")?,
        }),
        event::RETRY => Ok(Event::Retry {
            offset: reader.number("offset")?,
            attempt: reader.number_u32("attempt")?,
            visible_at_ms: reader.number("visible_at_ms")?,
        }),
        value => Err(unknown("event", value)),
    }
}
