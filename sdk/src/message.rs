use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use outrigger_proto::v1;
use rand::Rng as _;
use uuid::Uuid;

use crate::Durability;

/// A message to send.
///
/// ```
/// use outrigger_sdk::Message;
///
/// let message = Message::new("orders", r#"{"order":17}"#)
///     .tag("created")
///     .key("order-17")
///     .message_group("customer-3")
///     .property("currency", "EUR");
/// assert_eq!(message.topic(), "orders");
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    wire: v1::Message,
    durability: Option<Durability>,
}

impl Message {
    /// A message for `topic` (at most 127 characters) with `body` (at most 4 MiB by
    /// default).
    pub fn new(topic: impl Into<String>, body: impl Into<Bytes>) -> Self {
        Self {
            wire: v1::Message {
                topic: topic.into(),
                body: body.into(),
                ..v1::Message::default()
            },
            durability: None,
        }
    }

    /// A message whose body is fixed late: inside the local transaction, by
    /// [`LocalTransaction::set_payload`](crate::transaction::LocalTransaction::set_payload).
    /// Only for messages of a transaction.
    pub fn from_fence(topic: impl Into<String>) -> Self {
        let mut message = Self::new(topic, Bytes::new());
        message.wire.body_source = v1::BodySource::FromFence.into();
        message
    }

    /// Names the message, in at most 128 characters. Guards and the inbox recognise a
    /// message by this id. By default it is a UUID, version 7.
    #[must_use]
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.wire.message_id = id.into();
        self
    }

    /// One word that consumers can filter by; at most 128 characters, without `|`.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.wire.tag = tag.into();
        self
    }

    /// Adds a business key for finding the message again; at most 16, of at most 128
    /// characters each.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.wire.keys.push(key.into());
        self
    }

    /// Sets a property; at most 128 of them and 32 KiB together.
    #[must_use]
    pub fn property(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.wire.properties.insert(name.into(), value.into());
        self
    }

    /// The FIFO key, at most 128 characters: messages of one message group are delivered
    /// strictly one after the other.
    #[must_use]
    pub fn message_group(mut self, message_group: impl Into<String>) -> Self {
        self.wire.message_group = message_group.into();
        self
    }

    /// Not delivered before `instant`, which is at most 365 days ahead.
    #[must_use]
    pub fn deliver_at(mut self, instant: SystemTime) -> Self {
        self.wire.deliver_at_ms = unix_ms(instant);
        self
    }

    /// Not delivered before `delay` has passed, counted from this call.
    #[must_use]
    pub fn deliver_after(self, delay: Duration) -> Self {
        self.deliver_at(SystemTime::now() + delay)
    }

    /// When its send is answered; otherwise the producer or the topic says. Only for plain
    /// sends: a transaction with such a message is refused unless it is
    /// [`Durability::Synced`].
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = Some(durability);
        self
    }

    /// The topic it goes to.
    pub fn topic(&self) -> &str {
        &self.wire.topic
    }

    /// Whether the body comes from the fence row.
    pub fn is_from_fence(&self) -> bool {
        self.wire.body_source == v1::BodySource::FromFence as i32
    }

    /// What [`Message::durability`] has set.
    pub(crate) fn chosen_durability(&self) -> Option<Durability> {
        self.durability
    }

    /// As it travels: with an id and the time it was made.
    pub(crate) fn into_wire(self) -> v1::Message {
        let mut wire = self.wire;
        wire.born_at_ms = unix_ms(SystemTime::now());
        if wire.message_id.is_empty() {
            wire.message_id = new_uuid(wire.born_at_ms).to_string();
        }
        wire
    }
}

/// A UUID of version 7 for now.
pub(crate) fn new_id() -> Uuid {
    new_uuid(unix_ms(SystemTime::now()))
}

/// The thread's own generator is several times cheaper than asking the system for
/// randomness, which would dominate the cost of sending a small message.
fn new_uuid(now_ms: u64) -> Uuid {
    uuid::Builder::from_unix_timestamp_millis(now_ms, &rand::rng().random()).into_uuid()
}

pub(crate) fn unix_ms(instant: SystemTime) -> u64 {
    instant.duration_since(UNIX_EPOCH).map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}
