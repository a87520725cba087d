use outrigger_proto::v1;

/// When a plain send is answered.
///
/// It is chosen per message ([`Message::durability`](crate::Message::durability)), per
/// producer ([`Producer::durability`](crate::Producer::durability)) or per topic, and wins
/// in this order. Half-messages, their verdicts and acks are always [`Durability::Synced`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Durability {
    /// One way: the leader has taken the message, and nothing more is promised.
    Accepted,
    /// In the memory of a majority of the nodes, and on the disks of a majority within a
    /// second (typically a millisecond). It is lost when nodes of that majority crash or
    /// lose power before, and the others go on without it.
    Replicated,
    /// On the disks of a majority of the nodes, and visible.
    #[default]
    Synced,
}

impl From<Durability> for v1::Durability {
    fn from(durability: Durability) -> Self {
        match durability {
            Durability::Accepted => Self::Accepted,
            Durability::Replicated => Self::Replicated,
            Durability::Synced => Self::Synced,
        }
    }
}

impl From<v1::Durability> for Durability {
    fn from(durability: v1::Durability) -> Self {
        match durability {
            v1::Durability::Accepted => Self::Accepted,
            v1::Durability::Replicated => Self::Replicated,
            // A sidecar that does not say knows of no other level.
            v1::Durability::Synced | v1::Durability::Unspecified => Self::Synced,
        }
    }
}

/// As requests have it: nobody chose is the level of the topic.
pub(crate) fn chosen(durability: Option<Durability>) -> v1::Durability {
    durability.map_or(v1::Durability::Unspecified, Into::into)
}
