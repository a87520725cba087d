//! Which data group a call with one request concerns.

use bytes::Bytes;
use outrigger_core::placement::{Placement, TopicHome};
use uuid::Uuid;

use super::fields::content;

/// Where something goes whose name says nothing, because it is missing or not even a text:
/// it is refused there, in the same words as everywhere.
const NOWHERE: u32 = 0;

/// Where a dead-letter topic takes what is sent to it by name; it has a part in every data
/// group.
const DEAD_LETTERS: u32 = 0;

/// What says where a call goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Home {
    /// Field 1 is the name of a topic.
    Topic,
    /// Field 1 is a message to a topic.
    Message,
    /// Field 1 is the id of a transaction.
    Transaction,
    /// Field 1 is the key of a guard.
    Guard,
}

impl Home {
    /// What says where the call with this gRPC path goes; `None` when it concerns several
    /// data groups, or is not known.
    pub(super) fn of(path: &str) -> Option<Self> {
        let home = match path {
            "/outrigger.v1.Producer/Prepare"
            | "/outrigger.v1.Producer/Resolve"
            | "/outrigger.v1.Admin/ShowTransaction"
            | "/outrigger.v1.Admin/DecideTransaction"
            | "/outrigger.v1.Admin/ResumeTransaction" => Self::Transaction,
            "/outrigger.v1.Producer/Send" => Self::Message,
            "/outrigger.v1.Guard/Acquire"
            | "/outrigger.v1.Guard/Extend"
            | "/outrigger.v1.Guard/Complete"
            | "/outrigger.v1.Guard/Release"
            | "/outrigger.v1.Guard/Increment" => Self::Guard,
            "/outrigger.v1.Admin/CreateTopic"
            | "/outrigger.v1.Admin/UpdateTopic"
            | "/outrigger.v1.Admin/DescribeTopic" => Self::Topic,
            _ => return None,
        };
        Some(home)
    }

    /// Where this encoded request goes.
    pub(super) fn find(self, request: &Bytes, placement: &Placement) -> TopicHome {
        let Some(subject) = content(request, 1) else {
            return TopicHome::One(NOWHERE);
        };
        match self {
            Self::Topic => match std::str::from_utf8(&subject) {
                Ok(topic) => placement.topic(topic),
                Err(_) => TopicHome::One(NOWHERE),
            },
            Self::Message => TopicHome::One(of_message(&subject, placement)),
            Self::Transaction => TopicHome::One(of_transaction(&subject, placement)),
            Self::Guard => {
                let scope = content(&subject, 1).unwrap_or_default();
                let key = content(&subject, 2).unwrap_or_default();
                TopicHome::One(match std::str::from_utf8(&scope) {
                    Ok(scope) => placement.guard(scope, &key),
                    Err(_) => NOWHERE,
                })
            }
        }
    }
}

/// Where an encoded message that is sent goes.
pub(super) fn of_message(message: &Bytes, placement: &Placement) -> u32 {
    let topic = content(message, 1).unwrap_or_default();
    match std::str::from_utf8(&topic).map(|topic| placement.topic(topic)) {
        Ok(TopicHome::One(group)) => group,
        Ok(TopicHome::Every) => DEAD_LETTERS,
        Err(_) => NOWHERE,
    }
}

/// Where a transaction is decided whose id is this text.
pub(super) fn of_transaction(id: &[u8], placement: &Placement) -> u32 {
    match Uuid::try_parse_ascii(id) {
        Ok(id) => placement.transaction(id.as_u128()),
        Err(_) => NOWHERE,
    }
}
