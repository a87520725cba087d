//! The binary form of the records on disk, one pair of functions per table.

use std::sync::Arc;

use bytes::Bytes;
use outrigger_core::guard::Record as GuardRecord;
use outrigger_core::half_message::{HalfMessage, State};
use outrigger_core::lease::Progress;
use roaring::RoaringTreemap;

use super::delayed::{DelayedMessage, DueKey};
use super::groups::{ConsumerGroup, GroupQueue};
use super::outgoing::{OutgoingKey, OutgoingMessage};
use super::producers::Producer;
use super::topics::{ChangingDurability, Topic, TopicRecord};
use super::transactions::{AuditAction, AuditEntry, Pending, Resolved, StoredMessage};
use crate::codec::{CodecError, Reader, put_bytes, put_number, put_u32, put_u64, put_u128};
use crate::command::{
    ConsumerGroupId, Destination, TopicId, TransactionId, decode_durability, decode_group_config,
    decode_verdict, encode_group_config, encode_verdict,
};
use crate::derived::{DerivedError, Table};
use crate::place::Place;

type Read<T> = Result<T, DerivedError>;

/// Names the table in the error, and sees to it that the whole record was read.
fn whole<'a, T>(
    table: Table,
    bytes: &'a [u8],
    read: impl FnOnce(&mut Reader<'a>) -> Result<T, CodecError>,
) -> Read<T> {
    let mut reader = Reader::new(bytes);
    let result = read(&mut reader).and_then(|value| reader.finish().map(|()| value));
    result.map_err(|source| DerivedError::Record {
        table: table.name(),
        source,
    })
}

pub(super) fn write_topic(record: &TopicRecord) -> Vec<u8> {
    let mut out = Vec::new();
    put_bytes(&mut out, record.topic.name.as_bytes());
    put_number(&mut out, record.topic.created_at_ms);
    out.push(record.durability.to_byte());
    put_number(&mut out, u64::from(record.rotation));
    put_number(&mut out, record.offsets.len() as u64);
    for (first, next) in &record.offsets {
        put_number(&mut out, *first);
        put_number(&mut out, *next);
    }
    out
}

pub(super) fn read_topic(id: TopicId, bytes: &[u8]) -> Read<TopicRecord> {
    whole(Table::Topic, bytes, |reader| {
        let name = reader.text("name")?.to_owned();
        let created_at_ms = reader.number("created_at_ms")?;
        let durability = decode_durability(reader)?;
        let rotation = reader.number_u32("rotation")?;
        let queues = reader.count("queues", 2)?;
        let bounds = |_| {
            let first = reader.number("first_offset")?;
            Ok((first, reader.number("next_offset")?))
        };
        let offsets: Result<Vec<_>, CodecError> = (0..queues).map(bounds).collect();
        Ok(TopicRecord {
            topic: Arc::new(Topic {
                id,
                name,
                queues: queues as u32,
                created_at_ms,
                durability: ChangingDurability::new(durability),
            }),
            durability,
            rotation,
            offsets: offsets?,
        })
    })
}

pub(super) fn write_group(group: &ConsumerGroup) -> Vec<u8> {
    let mut out = Vec::new();
    put_bytes(&mut out, group.name.as_bytes());
    put_number(&mut out, group.created_at_ms);
    encode_group_config(&mut out, &group.config);
    out
}

pub(super) fn read_group(id: ConsumerGroupId, bytes: &[u8]) -> Read<ConsumerGroup> {
    whole(Table::Group, bytes, |reader| {
        Ok(ConsumerGroup {
            id,
            name: reader.text("name")?.to_owned(),
            created_at_ms: reader.number("created_at_ms")?,
            config: decode_group_config(reader)?,
        })
    })
}

pub(super) fn write_producer(producer: &Producer) -> Vec<u8> {
    let mut out = Vec::new();
    put_number(&mut out, u64::from(producer.epoch));
    put_number(&mut out, producer.high_water);
    put_number(&mut out, producer.seen_step);
    // Hardly any producer has refused operations; the rest of the record is theirs.
    if !producer.refused.is_empty() {
        let written = producer.refused.serialize_into(&mut out);
        debug_assert!(written.is_ok(), "writing to memory does not fail");
    }
    out
}

pub(super) fn read_producer(bytes: &[u8]) -> Read<Producer> {
    whole(Table::Producer, bytes, |reader| {
        Ok(Producer {
            epoch: reader.number_u32("epoch")?,
            high_water: reader.number("high_water")?,
            seen_step: reader.number("seen_step")?,
            refused: refused(reader)?,
        })
    })
}

fn refused(reader: &mut Reader<'_>) -> Result<RoaringTreemap, CodecError> {
    let left = reader.left();
    if left == 0 {
        return Ok(RoaringTreemap::new());
    }
    let bytes = reader.take(left)?;
    RoaringTreemap::deserialize_from(bytes).map_err(|_| CodecError::Unknown {
        field: "refused",
        value: left as u64,
    })
}

pub(super) fn progress_key(queue: GroupQueue) -> [u8; 12] {
    let mut key = [0; 12];
    let parts = [queue.group.0, queue.topic.0, queue.queue];
    let (places, _) = key.as_chunks_mut::<4>();
    for (place, part) in places.iter_mut().zip(parts) {
        *place = part.to_be_bytes();
    }
    key
}

pub(super) fn read_progress(key: &[u8], bytes: &[u8]) -> Read<(GroupQueue, Progress)> {
    let place = whole(Table::Progress, key, |reader| {
        Ok(GroupQueue {
            group: ConsumerGroupId(reader.u32()?.swap_bytes()),
            topic: TopicId(reader.u32()?.swap_bytes()),
            queue: reader.u32()?.swap_bytes(),
        })
    })?;
    let progress = Progress::decode(Bytes::copy_from_slice(bytes));
    let progress = progress.map_err(|_| DerivedError::Record {
        table: Table::Progress.name(),
        source: CodecError::Part { field: "progress" },
    })?;
    Ok((place, progress))
}

pub(super) fn delayed_key(key: DueKey) -> [u8; 16] {
    let both = (u128::from(key.due_ms) << 64) | u128::from(key.sequence);
    both.to_be_bytes()
}

pub(super) fn write_delayed(message: &DelayedMessage) -> Vec<u8> {
    let mut out = Vec::with_capacity(40);
    put_number(&mut out, u64::from(message.topic.0));
    put_u64(&mut out, message.key_hash);
    put_u32(&mut out, message.tag_hash);
    put_place(&mut out, message.place);
    put_number(&mut out, u64::from(message.length));
    out
}

pub(super) fn read_delayed(key: &[u8], bytes: &[u8]) -> Read<(DueKey, DelayedMessage)> {
    let key = whole(Table::Delayed, key, |reader| {
        Ok(DueKey {
            due_ms: reader.u64()?.swap_bytes(),
            sequence: reader.u64()?.swap_bytes(),
        })
    })?;
    let message = whole(Table::Delayed, bytes, |reader| {
        Ok(DelayedMessage {
            topic: TopicId(reader.number_u32("topic")?),
            key_hash: reader.u64()?,
            tag_hash: reader.u32()?,
            place: place(reader)?,
            length: reader.number_u32("length")?,
        })
    })?;
    Ok((key, message))
}

pub(super) fn outgoing_key(key: OutgoingKey) -> [u8; 12] {
    let mut bytes = [0; 12];
    let (target, number) = bytes.split_at_mut(4);
    target.copy_from_slice(&key.target.to_be_bytes());
    number.copy_from_slice(&key.number.to_be_bytes());
    bytes
}

pub(super) fn write_outgoing(message: &OutgoingMessage) -> Vec<u8> {
    let mut out = Vec::with_capacity(48 + message.topic.len());
    put_bytes(&mut out, message.topic.as_bytes());
    put_u64(&mut out, message.key_hash);
    put_u32(&mut out, message.tag_hash);
    put_number(&mut out, message.deliver_at_ms);
    put_place(&mut out, message.place);
    put_number(&mut out, u64::from(message.length));
    out
}

pub(super) fn read_outgoing(key: &[u8], bytes: &[u8]) -> Read<(OutgoingKey, OutgoingMessage)> {
    let key = whole(Table::Outgoing, key, |reader| {
        Ok(OutgoingKey {
            target: reader.u32()?.swap_bytes(),
            number: reader.u64()?.swap_bytes(),
        })
    })?;
    let message = whole(Table::Outgoing, bytes, |reader| {
        Ok(OutgoingMessage {
            topic: reader.text("topic")?.into(),
            key_hash: reader.u64()?,
            tag_hash: reader.u32()?,
            deliver_at_ms: reader.number("deliver_at_ms")?,
            place: place(reader)?,
            length: reader.number_u32("length")?,
        })
    })?;
    Ok((key, message))
}

fn put_place(out: &mut Vec<u8>, place: Place) {
    put_u64(out, place.index);
    put_u32(out, place.offset);
}

fn place(reader: &mut Reader<'_>) -> Result<Place, CodecError> {
    Ok(Place {
        index: reader.u64()?,
        offset: reader.u32()?,
    })
}

fn put_half_message(out: &mut Vec<u8>, machine: &HalfMessage) {
    put_u128(out, machine.fingerprint());
    out.push(match machine.state() {
        None => 0,
        Some(State::Prepared) => 1,
        Some(State::Committed) => 2,
        Some(State::RolledBack) => 3,
        Some(State::Parked) => 4,
    });
}

fn half_message(reader: &mut Reader<'_>) -> Result<HalfMessage, CodecError> {
    let fingerprint = reader.u128()?;
    let state = match reader.u8()? {
        0 => return Ok(HalfMessage::absent()),
        1 => State::Prepared,
        2 => State::Committed,
        3 => State::RolledBack,
        4 => State::Parked,
        value => {
            return Err(CodecError::Unknown {
                field: "state",
                value: u64::from(value),
            });
        }
    };
    Ok(HalfMessage::recorded(fingerprint, state))
}

fn put_audit(out: &mut Vec<u8>, audit: &[AuditEntry]) {
    put_number(out, audit.len() as u64);
    for entry in audit {
        put_number(out, entry.at_ms);
        match entry.action {
            AuditAction::Decided(verdict) => {
                out.push(1);
                encode_verdict(out, verdict);
            }
            AuditAction::Resumed => out.push(2),
        }
        put_bytes(out, entry.reason.as_bytes());
    }
}

fn audit(reader: &mut Reader<'_>) -> Result<Vec<AuditEntry>, CodecError> {
    let count = reader.count("audit", 3)?;
    let entry = |_| {
        Ok(AuditEntry {
            at_ms: reader.number("at_ms")?,
            action: match reader.u8()? {
                1 => AuditAction::Decided(decode_verdict(reader)?),
                2 => AuditAction::Resumed,
                value => {
                    return Err(CodecError::Unknown {
                        field: "action",
                        value: u64::from(value),
                    });
                }
            },
            reason: reader.text("reason")?.to_owned(),
        })
    };
    (0..count).map(entry).collect()
}

pub(super) fn write_pending(id: TransactionId, pending: &Pending) -> Vec<u8> {
    let mut out = Vec::new();
    put_u128(&mut out, id.0);
    put_half_message(&mut out, &pending.machine);
    put_bytes(&mut out, pending.producer_group.as_bytes());
    put_number(&mut out, pending.prepared_at_ms);
    put_audit(&mut out, &pending.audit);
    put_number(&mut out, pending.messages.len() as u64);
    for message in &pending.messages {
        put_stored_message(&mut out, message);
    }
    out
}

/// The body comes from the fence.
const FROM_FENCE: u8 = 1;
/// The number is that of another data group, and the name of the topic follows.
const THERE: u8 = 2;

fn put_stored_message(out: &mut Vec<u8>, message: &StoredMessage) {
    let (number, name) = match &message.destination {
        Destination::Here(topic) => (topic.0, None),
        Destination::There { group, topic } => (*group, Some(topic)),
    };
    put_number(out, u64::from(number));
    put_u64(out, message.key_hash);
    put_u32(out, message.tag_hash);
    put_number(out, message.deliver_at_ms);
    let from_fence = if message.from_fence { FROM_FENCE } else { 0 };
    out.push(from_fence | if name.is_some() { THERE } else { 0 });
    put_place(out, message.place);
    put_number(out, u64::from(message.length));
    if let Some(name) = name {
        put_bytes(out, name.as_bytes());
    }
}

pub(super) fn read_pending(key: &[u8], bytes: &[u8]) -> Read<(TransactionId, Pending)> {
    let sequence = whole(Table::Unresolved, key, |reader| {
        Ok(reader.u64()?.swap_bytes())
    })?;
    whole(Table::Unresolved, bytes, |reader| {
        let id = TransactionId(reader.u128()?);
        let machine = half_message(reader)?;
        let producer_group = reader.text("producer_group")?.into();
        let prepared_at_ms = reader.number("prepared_at_ms")?;
        let audit = audit(reader)?;
        let count = reader.count("messages", 28)?;
        let messages: Result<Box<[_]>, CodecError> =
            (0..count).map(|_| stored_message(reader)).collect();
        let pending = Pending {
            sequence,
            machine,
            producer_group,
            prepared_at_ms,
            messages: messages?,
            audit,
        };
        Ok((id, pending))
    })
}

fn stored_message(reader: &mut Reader<'_>) -> Result<StoredMessage, CodecError> {
    let number = reader.number_u32("topic")?;
    let key_hash = reader.u64()?;
    let tag_hash = reader.u32()?;
    let deliver_at_ms = reader.number("deliver_at_ms")?;
    let flags = reader.u8()?;
    if flags & !(FROM_FENCE | THERE) != 0 {
        return Err(CodecError::Unknown {
            field: "message flags",
            value: u64::from(flags),
        });
    }
    let place = place(reader)?;
    let length = reader.number_u32("length")?;
    let destination = if flags & THERE == 0 {
        Destination::Here(TopicId(number))
    } else {
        Destination::There {
            group: number,
            topic: reader.text("topic")?.into(),
        }
    };
    Ok(StoredMessage {
        destination,
        key_hash,
        tag_hash,
        deliver_at_ms,
        from_fence: flags & FROM_FENCE != 0,
        place,
        length,
    })
}

pub(super) fn write_resolved(resolved: &Resolved) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    put_u64(&mut out, resolved.expires_at_ms);
    put_number(&mut out, resolved.index);
    put_half_message(&mut out, &resolved.machine);
    put_bytes(&mut out, resolved.producer_group.as_bytes());
    put_number(&mut out, resolved.prepared_at_ms);
    put_number(&mut out, resolved.resolved_at_ms);
    put_audit(&mut out, &resolved.audit);
    out
}

pub(super) fn read_resolved(bytes: &[u8]) -> Read<Resolved> {
    whole(Table::Resolved, bytes, |reader| {
        Ok(Resolved {
            expires_at_ms: reader.u64()?,
            index: reader.number("index")?,
            machine: half_message(reader)?,
            producer_group: reader.text("producer_group")?.into(),
            prepared_at_ms: reader.number("prepared_at_ms")?,
            resolved_at_ms: reader.number("resolved_at_ms")?,
            audit: audit(reader)?,
        })
    })
}

pub(super) fn write_guard(record: &GuardRecord) -> Vec<u8> {
    let encoded = record.encode();
    let mut out = Vec::with_capacity(8 + encoded.len());
    put_u64(&mut out, record.expires_at_ms());
    out.extend_from_slice(&encoded);
    out
}

pub(super) fn read_guard(bytes: &Bytes) -> Read<GuardRecord> {
    let damaged = || DerivedError::Record {
        table: Table::Guard.name(),
        source: CodecError::Part { field: "guard" },
    };
    if bytes.len() < 8 {
        return Err(damaged());
    }
    GuardRecord::decode(bytes.slice(8..)).map_err(|_| damaged())
}
