//! Reads an encoded `outrigger.v1.Message` without decoding it.
//!
//! Messages are stored and delivered as the bytes that the producer sent. The edge only
//! has to know a few fields, and to be sure that every consumer will be able to decode
//! the rest.

use std::str;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use outrigger_core::limits;
use prost::encoding::{WireType, decode_key, decode_varint, encode_key, encode_varint};
use xxhash_rust::xxh3::xxh3_64;

use super::status::Failure;
use crate::config::LimitsConfig;

mod field {
    pub(super) const TOPIC: u32 = 1;
    pub(super) const MESSAGE_ID: u32 = 2;
    pub(super) const BODY: u32 = 3;
    pub(super) const TAG: u32 = 4;
    pub(super) const KEYS: u32 = 5;
    pub(super) const PROPERTIES: u32 = 6;
    pub(super) const MESSAGE_GROUP: u32 = 7;
    pub(super) const DELIVER_AT_MS: u32 = 8;
    pub(super) const BODY_SOURCE: u32 = 9;
    pub(super) const BORN_AT_MS: u32 = 10;
}

/// What the edge knows of a message that passed every check.
#[derive(Debug)]
pub(crate) struct Inspected {
    /// The message as it will be stored.
    pub(crate) stored: Bytes,
    /// Where the topic's name is in `stored`.
    topic: (usize, usize),
    /// Of the message group; 0 when there is none.
    pub(crate) key_hash: u64,
    /// Of the tag; 0 when there is none.
    pub(crate) tag_hash: u32,
    /// 0 for at once.
    pub(crate) deliver_at_ms: u64,
    /// The body comes from the transaction's fence row.
    pub(crate) from_fence: bool,
    /// It has several properties, which have no order in the wire format.
    pub(crate) unordered: bool,
}

impl Inspected {
    /// The topic's name.
    pub(crate) fn topic(&self) -> &str {
        let (start, end) = self.topic;
        self.stored
            .get(start..end)
            .and_then(|name| str::from_utf8(name).ok())
            .unwrap_or_default()
    }
}

/// The hash of a tag as the queue index has it; never 0.
pub(crate) fn tag_hash(tag: &str) -> u32 {
    let hash = xxh3_64(tag.as_bytes());
    ((hash ^ (hash >> 32)) as u32).max(1)
}

/// The hash of a message group as the queue index has it; never 0.
fn key_hash(message_group: &[u8]) -> u64 {
    xxh3_64(message_group).max(1)
}

/// Appends the body that the application wrote into its fence row.
///
/// In the wire format the last value of a field wins, so this replaces a body as well.
pub(crate) fn with_body(stored: &[u8], payload: &[u8]) -> Bytes {
    let mut message = BytesMut::with_capacity(stored.len() + payload.len() + 12);
    message.put_slice(stored);
    encode_key(field::BODY, WireType::LengthDelimited, &mut message);
    encode_varint(payload.len() as u64, &mut message);
    message.put_slice(payload);
    message.freeze()
}

/// Checks one encoded message against the limits.
pub(crate) fn inspect(
    encoded: Bytes,
    limits: &LimitsConfig,
    now_ms: u64,
) -> Result<Inspected, Failure> {
    let mut scan = Scan::default();
    scan.fields(&encoded)?;
    scan.check(limits, now_ms)?;
    let stored = match scan.supplement(now_ms) {
        None => encoded,
        Some(supplement) => [encoded.as_ref(), supplement.as_ref()].concat().into(),
    };
    Ok(Inspected {
        stored,
        topic: scan.topic,
        key_hash: scan.key_hash,
        tag_hash: scan.tag_hash,
        deliver_at_ms: scan.deliver_at_ms,
        from_fence: scan.body_source == 1,
        unordered: scan.properties > 1,
    })
}

#[derive(Default)]
struct Scan {
    topic: (usize, usize),
    message_id_chars: usize,
    body_bytes: usize,
    keys: usize,
    properties: usize,
    properties_bytes: usize,
    key_hash: u64,
    tag_hash: u32,
    deliver_at_ms: u64,
    body_source: u64,
    born_at_ms: u64,
}

impl Scan {
    fn fields(&mut self, encoded: &Bytes) -> Result<(), Failure> {
        let mut rest: &[u8] = encoded;
        while rest.has_remaining() {
            let (number, wire_type) = decode_key(&mut rest).map_err(|_| malformed())?;
            match wire_type {
                WireType::LengthDelimited => {
                    let value = take_value(&mut rest)?;
                    let end = encoded.len() - rest.len();
                    self.bytes_field(number, value, end)?;
                }
                WireType::Varint => {
                    let value = decode_varint(&mut rest).map_err(|_| malformed())?;
                    self.number_field(number, value)?;
                }
                WireType::SixtyFourBit => skip(&mut rest, number, 8)?,
                WireType::ThirtyTwoBit => skip(&mut rest, number, 4)?,
                WireType::StartGroup | WireType::EndGroup => return Err(malformed()),
            }
        }
        Ok(())
    }

    fn bytes_field(&mut self, number: u32, value: &[u8], end: usize) -> Result<(), Failure> {
        match number {
            field::TOPIC => {
                text("message.topic", value, limits::TOPIC_CHARACTERS_MAX)?;
                self.topic = (end - value.len(), end);
            }
            field::MESSAGE_ID => {
                self.message_id_chars = text(
                    "message.message_id",
                    value,
                    limits::MESSAGE_ID_CHARACTERS_MAX,
                )?;
            }
            field::BODY => self.body_bytes = value.len(),
            field::TAG => {
                text("message.tag", value, limits::TAG_CHARACTERS_MAX)?;
                self.tag_hash = tag(value)?;
            }
            field::KEYS => {
                text("message.keys", value, limits::KEY_CHARACTERS_MAX)?;
                self.keys += 1;
            }
            field::PROPERTIES => {
                property(value)?;
                self.properties += 1;
                self.properties_bytes += value.len();
            }
            field::MESSAGE_GROUP => {
                text(
                    "message.message_group",
                    value,
                    limits::MESSAGE_GROUP_CHARACTERS_MAX,
                )?;
                self.key_hash = if value.is_empty() { 0 } else { key_hash(value) };
            }
            field::DELIVER_AT_MS | field::BODY_SOURCE | field::BORN_AT_MS => {
                return Err(malformed());
            }
            _ => {}
        }
        Ok(())
    }

    fn number_field(&mut self, number: u32, value: u64) -> Result<(), Failure> {
        match number {
            field::DELIVER_AT_MS => self.deliver_at_ms = value,
            field::BODY_SOURCE => self.body_source = value,
            field::BORN_AT_MS => self.born_at_ms = value,
            field::TOPIC..=field::MESSAGE_GROUP => return Err(malformed()),
            _ => {}
        }
        Ok(())
    }

    fn check(&self, limits: &LimitsConfig, now_ms: u64) -> Result<(), Failure> {
        at_most(
            "BODY_TOO_LARGE",
            "message.body",
            self.body_bytes,
            limits.body_bytes_max,
            "bytes",
        )?;
        at_most(
            "TOO_MANY_KEYS",
            "message.keys",
            self.keys,
            limits::KEYS_COUNT_MAX,
            "keys",
        )?;
        at_most(
            "TOO_MANY_PROPERTIES",
            "message.properties",
            self.properties,
            limits.properties_count_max,
            "entries",
        )?;
        at_most(
            "PROPERTIES_TOO_LARGE",
            "message.properties",
            self.properties_bytes,
            limits.properties_bytes_max,
            "bytes",
        )?;
        if self.deliver_at_ms > now_ms.saturating_add(limits::DELAY_MS_MAX) {
            return Err(Failure::invalid(
                "DELAY_TOO_LONG",
                "message.deliver_at_ms",
                self.deliver_at_ms,
                format_args!("at most {} ms from now", limits::DELAY_MS_MAX),
            ));
        }
        if self.body_source > 1 {
            return Err(Failure::invalid(
                "ILLEGAL_BODY_SOURCE",
                "message.body_source",
                self.body_source,
                "BODY_SOURCE_INLINE or BODY_SOURCE_FROM_FENCE",
            ));
        }
        Ok(())
    }

    /// The fields that every stored message has and that this sender left out.
    fn supplement(&self, now_ms: u64) -> Option<Bytes> {
        if self.message_id_chars > 0 && self.born_at_ms > 0 {
            return None;
        }
        let mut fields = BytesMut::with_capacity(64);
        if self.message_id_chars == 0 {
            let id = uuid::Uuid::now_v7().to_string();
            prost::encoding::string::encode(field::MESSAGE_ID, &id, &mut fields);
        }
        if self.born_at_ms == 0 {
            prost::encoding::uint64::encode(field::BORN_AT_MS, &now_ms, &mut fields);
        }
        Some(fields.freeze())
    }
}

fn malformed() -> Failure {
    Failure::invalid(
        "MALFORMED_MESSAGE",
        "message",
        "not decodable",
        "an outrigger.v1.Message",
    )
}

fn take_value<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], Failure> {
    let length = decode_varint(rest).map_err(|_| malformed())?;
    let length = usize::try_from(length).map_err(|_| malformed())?;
    let (value, after) = rest.split_at_checked(length).ok_or_else(malformed)?;
    *rest = after;
    Ok(value)
}

fn skip(rest: &mut &[u8], number: u32, bytes: usize) -> Result<(), Failure> {
    if number <= field::BORN_AT_MS || rest.len() < bytes {
        return Err(malformed());
    }
    rest.advance(bytes);
    Ok(())
}

/// Checks a text field and returns its length in characters.
fn text(name: &'static str, value: &[u8], chars_max: usize) -> Result<usize, Failure> {
    let Ok(text) = str::from_utf8(value) else {
        return Err(Failure::invalid(
            "NOT_UTF8",
            name,
            "not UTF-8",
            "UTF-8 text",
        ));
    };
    // Bytes bound characters from above; counting is for the rare long value.
    let chars = if text.len() <= chars_max {
        text.len()
    } else {
        text.chars().count()
    };
    if chars > chars_max {
        return Err(Failure::invalid(
            "TEXT_TOO_LONG",
            name,
            text,
            format_args!("at most {chars_max} characters"),
        ));
    }
    Ok(chars)
}

fn tag(value: &[u8]) -> Result<u32, Failure> {
    let tag = str::from_utf8(value).unwrap_or_default();
    if tag.is_empty() {
        return Ok(0);
    }
    if tag == "*" || tag.contains('|') || tag.trim() != tag {
        return Err(Failure::invalid(
            "ILLEGAL_TAG",
            "message.tag",
            tag,
            "one word, not `*`, without `|` and surrounding blanks",
        ));
    }
    Ok(tag_hash(tag))
}

/// One entry of the properties: a nested message of two strings.
fn property(mut entry: &[u8]) -> Result<(), Failure> {
    while entry.has_remaining() {
        let (_, wire_type) = decode_key(&mut entry).map_err(|_| malformed())?;
        if wire_type != WireType::LengthDelimited {
            return Err(malformed());
        }
        text("message.properties", take_value(&mut entry)?, usize::MAX)?;
    }
    Ok(())
}

fn at_most(
    reason: &'static str,
    name: &'static str,
    value: usize,
    max: usize,
    unit: &'static str,
) -> Result<(), Failure> {
    if value <= max {
        return Ok(());
    }
    Err(Failure::invalid(
        reason,
        name,
        format_args!("{value} {unit}"),
        format_args!("at most {max} {unit}"),
    ))
}

#[cfg(test)]
mod tests {
    use outrigger_proto::stored::Message;
    use proptest::{collection::vec, prelude::*};
    use prost::Message as _;

    use super::*;

    fn message() -> impl Strategy<Value = Message> {
        let texts = ("[a-z]{1,9}", "[a-z]{0,9}", "[a-zé]{0,9}", "[a-z]{0,9}");
        let rest = (
            vec(any::<u8>(), 0..99),
            vec("[a-z]{0,5}", 0..3),
            vec(("[a-z]{0,3}", ".{0,3}"), 0..4),
        );
        (texts, rest, 0..1_000_u64, any::<bool>()).prop_map(
            |((topic, message_id, tag, message_group), (body, keys, properties), at, fence)| {
                Message {
                    topic,
                    message_id,
                    body: body.into(),
                    tag,
                    keys,
                    properties: properties.into_iter().collect(),
                    message_group,
                    deliver_at_ms: at,
                    body_source: i32::from(fence),
                    born_at_ms: at,
                }
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_stored_is_what_was_sent(sent in message()) {
            let inspected = inspect(sent.encode_to_vec().into(), &LimitsConfig::default(), 7)
                .expect("a legal message");
            prop_assert_eq!(inspected.topic(), &sent.topic);
            prop_assert_eq!(inspected.deliver_at_ms, sent.deliver_at_ms);
            prop_assert_eq!(inspected.from_fence, sent.body_source == 1);
            prop_assert_eq!(inspected.key_hash == 0, sent.message_group.is_empty());
            prop_assert_eq!(inspected.tag_hash == 0, sent.tag.is_empty());
            let mut stored = Message::decode(inspected.stored).expect("decodable");
            prop_assert!(!stored.message_id.is_empty());
            prop_assert!(stored.born_at_ms > 0);
            stored.message_id.clone_from(&sent.message_id);
            stored.born_at_ms = sent.born_at_ms;
            prop_assert_eq!(stored, sent);
        }

        /// Whatever passes the inspection must be decodable for every consumer.
        #[test]
        fn nothing_that_cannot_be_decoded_passes(
            sent in message(),
            changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        ) {
            let mut encoded = sent.encode_to_vec();
            for (index, byte) in changes {
                let index = index.index(encoded.len());
                encoded[index] = byte;
            }
            if let Ok(inspected) = inspect(encoded.into(), &LimitsConfig::default(), 7) {
                let stored = Message::decode(inspected.stored.clone());
                prop_assert!(stored.is_ok());
                prop_assert_eq!(inspected.topic(), stored.expect("decodable").topic);
            }
        }

        #[test]
        fn a_body_from_the_fence_replaces_whatever_was_there(sent in message(), body in vec(any::<u8>(), 0..99)) {
            let stored = Message::decode(with_body(&sent.encode_to_vec(), &body)).expect("decodable");
            prop_assert_eq!(stored, Message { body: body.into(), ..sent });
        }
    }

    #[test]
    fn a_message_over_a_limit_is_refused_by_name() {
        let limits = LimitsConfig {
            body_bytes_max: 3,
            properties_count_max: 1,
            ..LimitsConfig::default()
        };
        let refused = |message: Message| {
            let failure =
                inspect(message.encode_to_vec().into(), &limits, 7).expect_err("too much");
            (
                failure.reason,
                failure.metadata.get("field").cloned().unwrap_or_default(),
            )
        };
        let pair = |name: &str| (name.to_owned(), String::new());
        let cases = [
            (
                Message {
                    body: vec![0; 4].into(),
                    ..Message::default()
                },
                "BODY_TOO_LARGE",
                "message.body",
            ),
            (
                Message {
                    properties: [pair("a"), pair("b")].into(),
                    ..Message::default()
                },
                "TOO_MANY_PROPERTIES",
                "message.properties",
            ),
            (
                Message {
                    topic: "t".repeat(128),
                    ..Message::default()
                },
                "TEXT_TOO_LONG",
                "message.topic",
            ),
            (
                Message {
                    tag: "a|b".into(),
                    ..Message::default()
                },
                "ILLEGAL_TAG",
                "message.tag",
            ),
            (
                Message {
                    deliver_at_ms: u64::MAX,
                    ..Message::default()
                },
                "DELAY_TOO_LONG",
                "message.deliver_at_ms",
            ),
        ];
        for (message, reason, field) in cases {
            assert_eq!(refused(message), (reason, field.to_owned()));
        }
    }
}
