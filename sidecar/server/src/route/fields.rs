use bytes::{Buf as _, Bytes};
use prost::encoding::{WireType, decode_key, decode_varint};

/// One field of an encoded message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) number: u32,
    /// All of it, as it stands in the message.
    pub(super) whole: Bytes,
    pub(super) value: Value,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Varint(u64),
    /// A text, bytes, or a message.
    Content(Bytes),
    /// Nothing that is looked at here.
    Fixed,
}

/// The bytes are not an encoded message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an encoded message")]
pub(super) struct Malformed;

/// Goes through the fields of an encoded message without copying anything.
pub(super) struct Fields {
    message: Bytes,
    at: usize,
}

impl Fields {
    pub(super) fn of(message: &Bytes) -> Self {
        Self {
            message: message.clone(),
            at: 0,
        }
    }

    fn read(&mut self) -> Result<Field, Malformed> {
        let start = self.at;
        let mut rest = self.message.get(start..).ok_or(Malformed)?;
        let (number, wire_type) = decode_key(&mut rest).map_err(|_| Malformed)?;
        let length = match wire_type {
            WireType::Varint => {
                let number_value = decode_varint(&mut rest).map_err(|_| Malformed)?;
                return Ok(self.field(number, rest.len(), Value::Varint(number_value)));
            }
            WireType::LengthDelimited => {
                let length = decode_varint(&mut rest).map_err(|_| Malformed)?;
                usize::try_from(length).map_err(|_| Malformed)?
            }
            WireType::ThirtyTwoBit => 4,
            WireType::SixtyFourBit => 8,
            WireType::StartGroup | WireType::EndGroup => return Err(Malformed),
        };
        if rest.remaining() < length {
            return Err(Malformed);
        }
        let from = self.message.len() - rest.len();
        let value = match wire_type {
            WireType::LengthDelimited => Value::Content(self.message.slice(from..from + length)),
            _ => Value::Fixed,
        };
        Ok(self.field(number, rest.len() - length, value))
    }

    fn field(&mut self, number: u32, left_bytes: usize, value: Value) -> Field {
        let start = self.at;
        self.at = self.message.len() - left_bytes;
        let whole = self.message.slice(start..self.at);
        Field {
            number,
            whole,
            value,
        }
    }
}

impl Iterator for Fields {
    type Item = Result<Field, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.message.len() {
            return None;
        }
        let field = self.read();
        if field.is_err() {
            self.at = self.message.len();
        }
        Some(field)
    }
}

/// The content of a field; the last one counts, as for everybody who decodes the message.
/// `None` when there is none or it is no message.
pub(super) fn content(message: &Bytes, number: u32) -> Option<Bytes> {
    let mut found = None;
    for field in Fields::of(message) {
        let field = field.ok()?;
        if let Value::Content(content) = field.value
            && field.number == number
        {
            found = Some(content);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use outrigger_proto::v1;
    use prost::Message as _;

    use super::*;

    #[test]
    fn fields_put_together_are_the_message_again() {
        let message = v1::ResolveRequest {
            transaction_id: "one".to_owned(),
            verdict: 2,
            payload: Some(Bytes::from_static(b"body")),
        };
        let encoded = Bytes::from(message.encode_to_vec());
        let fields: Vec<_> = Fields::of(&encoded).collect::<Result<_, _>>().unwrap();
        assert_eq!(fields.len(), 3);
        assert_eq!(fields[1].value, Value::Varint(2));
        let joined: Vec<u8> = fields
            .iter()
            .flat_map(|field| field.whole.clone())
            .collect();
        assert_eq!(joined, encoded);
        assert_eq!(content(&encoded, 3).as_deref(), Some(&b"body"[..]));
        assert_eq!(content(&encoded, 2), None);
    }

    #[test]
    fn the_last_field_of_a_number_counts() {
        let topic = |topic: &str| {
            let message = v1::DescribeTopicRequest {
                topic: topic.to_owned(),
            };
            message.encode_to_vec()
        };
        let twice = Bytes::from([topic("first"), topic("last")].concat());
        assert_eq!(content(&twice, 1).as_deref(), Some(&b"last"[..]));
    }

    #[test]
    fn broken_bytes_are_noticed() {
        for broken in [
            &b"\x1a\x05\x0a"[..],
            b"\xff",
            b"\x0b",
            b"\x0a\xff\xff\xff\xff\xff\x01",
        ] {
            let broken = Bytes::copy_from_slice(broken);
            assert!(Fields::of(&broken).any(|field| field == Err(Malformed)));
            assert_eq!(content(&broken, 1), None);
        }
    }
}
