use bytes::{Buf as _, Bytes};
use prost::encoding::{WireType, decode_key, decode_varint};

/// Fields of `PublishRequest` and `Operation`.
const PRODUCER: u32 = 1;
const OPERATIONS: u32 = 3;
const SEND: u32 = 1;

/// What has to be known of a Publish request to repeat it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Scanned {
    /// The encoded field `producer`, if it is set.
    pub(super) producer: Option<Bytes>,
    /// It has a plain send, which needs a producer's identity to be repeated.
    pub(super) sends: bool,
}

/// Looks at an encoded `PublishRequest` without decoding it. What is not one is refused by
/// whoever decodes it, and is never repeated.
pub(super) fn scan(request: &Bytes) -> Scanned {
    fields(request).unwrap_or(Scanned {
        producer: None,
        sends: true,
    })
}

fn fields(request: &Bytes) -> Option<Scanned> {
    let mut scanned = Scanned::default();
    let mut rest = request.as_ref();
    while rest.has_remaining() {
        let start = request.len() - rest.len();
        let (field, wire_type) = decode_key(&mut rest).ok()?;
        let content = skip(wire_type, &mut rest)?;
        let end = request.len() - rest.len();
        match field {
            PRODUCER => scanned.producer = Some(request.slice(start..end)),
            OPERATIONS if !scanned.sends => scanned.sends = is_send(content)?,
            _ => {}
        }
    }
    Some(scanned)
}

/// Of a `oneof` the last field that is set counts; a send anywhere is taken for one.
fn is_send(mut operation: &[u8]) -> Option<bool> {
    while operation.has_remaining() {
        let (field, wire_type) = decode_key(&mut operation).ok()?;
        if field == SEND {
            return Some(true);
        }
        skip(wire_type, &mut operation)?;
    }
    Some(false)
}

/// Goes past a field; its content, where it has a length.
fn skip<'a>(wire_type: WireType, rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = match wire_type {
        WireType::Varint => {
            decode_varint(rest).ok()?;
            return Some(&[]);
        }
        WireType::LengthDelimited => usize::try_from(decode_varint(rest).ok()?).ok()?,
        WireType::ThirtyTwoBit => 4,
        WireType::SixtyFourBit => 8,
        WireType::StartGroup | WireType::EndGroup => return None,
    };
    let (content, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(content)
}

#[cfg(test)]
mod tests {
    use outrigger_proto::v1::{self, operation::Kind};
    use prost::Message as _;

    use super::*;

    fn request(producer: Option<&str>, kinds: Vec<Kind>) -> Bytes {
        let request = v1::PublishRequest {
            producer: producer.map(|id| v1::ProducerIdentity {
                producer_id: id.to_owned(),
                epoch: 3,
            }),
            first_sequence: 300,
            operations: kinds
                .into_iter()
                .map(|kind| v1::Operation {
                    kind: Some(kind),
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        };
        request.encode_to_vec().into()
    }

    fn send() -> Kind {
        Kind::Send(v1::Message {
            topic: "orders".to_owned(),
            ..Default::default()
        })
    }

    fn resolve() -> Kind {
        Kind::Resolve(v1::ResolveRequest {
            transaction_id: "1".to_owned(),
            ..Default::default()
        })
    }

    #[test]
    fn sends_are_found_among_other_operations() {
        assert!(!scan(&request(None, vec![resolve(), resolve()])).sends);
        assert!(scan(&request(None, vec![resolve(), send(), resolve()])).sends);
        assert!(!scan(&request(Some("me"), vec![])).sends);
    }

    #[test]
    fn the_identity_of_one_request_makes_another_one_complete() {
        let first = scan(&request(Some("me"), vec![send()]));
        let identity = first.producer.expect("it was set");
        let later = request(None, vec![send(), resolve()]);
        assert_eq!(scan(&later).producer, None);
        let joined = [identity, later].concat();
        let joined = v1::PublishRequest::decode(&*joined).expect("still a request");
        let producer = joined.producer.expect("it has one now");
        assert_eq!(producer.producer_id, "me");
        assert_eq!(producer.epoch, 3);
        assert_eq!(joined.first_sequence, 300);
        assert_eq!(joined.operations.len(), 2);
    }

    #[test]
    fn what_is_no_request_is_never_repeated() {
        for broken in [&b"\x1a\x05\x0a"[..], b"\xff", b"\x0b"] {
            let scanned = scan(&Bytes::copy_from_slice(broken));
            assert!(scanned.sends, "{broken:?}");
            assert_eq!(scanned.producer, None, "{broken:?}");
        }
    }
}
