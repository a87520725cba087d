/// The kinds of records; the byte that their keys begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Table {
    /// One record: what the checkpoint reflects.
    Meta,
    /// Topics, by id.
    Topic,
    /// Consumer groups, by id.
    Group,
    /// Producers, by id.
    Producer,
    /// Unresolved transactions, by sequence.
    Unresolved,
    /// Delayed messages, by due time and sequence.
    Delayed,
    /// Messages for other data groups, by data group and number.
    Outgoing,
    /// Other data groups that messages go to, by data group.
    Target,
    /// Other data groups that messages come from, by data group.
    Source,
    /// Consumer groups' progress, by group, topic and queue.
    Progress,
    /// Resolved transactions, by id. Begins with the time of expiry.
    Resolved,
    /// Guards, by scope and key. Begins with the time of expiry.
    Guard,
    /// Definitions of sagas, by name and version.
    SagaDefinition,
    /// Owners of sagas, by number; without a number: where counting goes on.
    SagaOwner,
    /// Sagas that are kept in memory as well, by id.
    Saga,
    /// Sagas that have ended, by id. Begins with the time of expiry.
    EndedSaga,
}

impl Table {
    pub(crate) const ALL: [Self; 16] = [
        Self::Meta,
        Self::Topic,
        Self::Group,
        Self::Producer,
        Self::Unresolved,
        Self::Delayed,
        Self::Outgoing,
        Self::Target,
        Self::Source,
        Self::Progress,
        Self::Resolved,
        Self::Guard,
        Self::SagaDefinition,
        Self::SagaOwner,
        Self::Saga,
        Self::EndedSaga,
    ];

    /// The table of a whole key, and the key in it.
    pub(crate) fn of(key: &[u8]) -> Option<(Self, &[u8])> {
        let (prefix, key) = key.split_first()?;
        let table = Self::ALL
            .into_iter()
            .find(|table| table.prefix() == *prefix)?;
        Some((table, key))
    }

    /// For messages.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::Topic => "topic",
            Self::Group => "group",
            Self::Producer => "producer",
            Self::Unresolved => "unresolved",
            Self::Delayed => "delayed",
            Self::Outgoing => "outgoing",
            Self::Target => "target",
            Self::Source => "source",
            Self::Progress => "progress",
            Self::Resolved => "resolved",
            Self::Guard => "guard",
            Self::SagaDefinition => "saga definition",
            Self::SagaOwner => "saga owner",
            Self::Saga => "saga",
            Self::EndedSaga => "ended saga",
        }
    }

    pub(super) fn prefix(self) -> u8 {
        match self {
            Self::Meta => b'm',
            Self::Topic => b't',
            Self::Group => b'g',
            Self::Producer => b'p',
            Self::Unresolved => b'u',
            Self::Delayed => b'd',
            Self::Outgoing => b'o',
            Self::Target => b'n',
            Self::Source => b's',
            Self::Progress => b'q',
            Self::Resolved => b'r',
            Self::Guard => b'k',
            Self::SagaDefinition => b'f',
            Self::SagaOwner => b'w',
            Self::Saga => b'a',
            Self::EndedSaga => b'e',
        }
    }

    /// True when a key's record begins with its time of expiry.
    pub(super) fn expires(key: &[u8]) -> bool {
        let prefix = key.first().copied();
        [Self::Resolved, Self::Guard, Self::EndedSaga]
            .into_iter()
            .any(|table| prefix == Some(table.prefix()))
    }

    pub(super) fn key(self, key: &[u8]) -> Vec<u8> {
        let mut whole = Vec::with_capacity(1 + key.len());
        whole.push(self.prefix());
        whole.extend_from_slice(key);
        whole
    }
}
