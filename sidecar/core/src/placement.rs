//! Which data group has what.
//!
//! A cluster has a fixed number of data groups, each with a Raft group, a leader and a state
//! of its own. What belongs together lies in one of them: a topic with all its queues, a
//! transaction, a guard. Where, follows from the name alone, so that every process knows it
//! without asking. The number of data groups is chosen when a cluster is formed and never
//! changes, and neither do these rules.

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::limits::DATA_GROUPS_COUNT_MAX;
use crate::name::DEAD_LETTER_PREFIX;

/// Where a topic lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicHome {
    /// In this data group.
    One(u32),
    /// In every data group a part of it: a dead letter points to the bytes of its message, so
    /// it stays where they are.
    Every,
}

/// A number of data groups that there cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("groups is {groups}, it must be 1 to {limit}")]
pub struct Error {
    /// The number.
    pub groups: u32,
    /// The largest possible one.
    pub limit: u32,
}

/// Says which data group has what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    groups: u32,
}

impl Placement {
    /// Everything in one data group.
    pub const SINGLE: Self = Self { groups: 1 };

    /// For this number of data groups, 1 to [`DATA_GROUPS_COUNT_MAX`].
    ///
    /// # Errors
    ///
    /// When there cannot be so many.
    pub fn new(groups: u32) -> Result<Self, Error> {
        let limit = DATA_GROUPS_COUNT_MAX;
        match groups {
            1..=DATA_GROUPS_COUNT_MAX => Ok(Self { groups }),
            _ => Err(Error { groups, limit }),
        }
    }

    /// How many data groups there are.
    #[must_use]
    pub fn groups(&self) -> u32 {
        self.groups
    }

    /// Where a topic lies.
    #[must_use]
    pub fn topic(&self, name: &str) -> TopicHome {
        if self.groups > 1 && name.starts_with(DEAD_LETTER_PREFIX) {
            return TopicHome::Every;
        }
        TopicHome::One(self.of_hash(xxh3_64(name.as_bytes())))
    }

    /// Where a transaction is decided.
    #[must_use]
    pub fn transaction(&self, id: u128) -> u32 {
        self.of_hash(xxh3_64(&id.to_be_bytes()))
    }

    /// Where a guard is kept.
    #[must_use]
    pub fn guard(&self, scope: &str, key: &[u8]) -> u32 {
        let mut hash = Xxh3::new();
        hash.update(&(scope.len() as u64).to_be_bytes());
        hash.update(scope.as_bytes());
        hash.update(key);
        self.of_hash(hash.digest())
    }

    /// Where a saga is kept. A saga that is a step of another one is kept where that is: its id
    /// begins with the other's id and a `/`.
    #[must_use]
    pub fn saga(&self, id: &str) -> u32 {
        let root = id.split('/').next().unwrap_or_default();
        self.of_hash(xxh3_64(root.as_bytes()))
    }

    fn of_hash(&self, hash: u64) -> u32 {
        (hash % u64::from(self.groups)) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_of_groups_has_limits() {
        assert!(Placement::new(1).is_ok());
        assert!(Placement::new(DATA_GROUPS_COUNT_MAX).is_ok());
        for groups in [0, DATA_GROUPS_COUNT_MAX + 1] {
            let error = Placement::new(groups).unwrap_err();
            assert_eq!(error.groups, groups);
            assert_eq!(error.limit, DATA_GROUPS_COUNT_MAX);
        }
    }

    /// A cluster that was formed by an older version finds its topics again.
    #[test]
    fn places_never_change() {
        let placement = Placement::new(4).unwrap();
        let topics = ["orders", "payments", "points", "stock"];
        let homes = topics.map(|topic| placement.topic(topic));
        assert_eq!(homes, PLACES_OF_TOPICS.map(TopicHome::One));
        let transactions = [1, 2, 3, 4].map(|id| placement.transaction(id));
        assert_eq!(transactions, PLACES_OF_TRANSACTIONS);
        let guards =
            [("a", "b"), ("ab", "")].map(|(scope, key)| placement.guard(scope, key.as_bytes()));
        assert_eq!(guards, PLACES_OF_GUARDS);
    }

    const PLACES_OF_TOPICS: [u32; 4] = [3, 1, 3, 1];
    const PLACES_OF_TRANSACTIONS: [u32; 4] = [3, 3, 3, 0];
    const PLACES_OF_GUARDS: [u32; 2] = [0, 3];

    #[test]
    fn every_group_gets_its_share() {
        let placement = Placement::new(5).unwrap();
        let mut counts = [0_u32; 5];
        for id in 0..10_000 {
            counts[placement.transaction(id) as usize] += 1;
        }
        assert!(
            counts.iter().all(|count| (1_800..2_200).contains(count)),
            "{counts:?}"
        );
    }

    #[test]
    fn dead_letters_stay_where_their_messages_are() {
        let name = format!("{DEAD_LETTER_PREFIX}points");
        assert_eq!(Placement::new(3).unwrap().topic(&name), TopicHome::Every);
        assert_eq!(Placement::SINGLE.topic(&name), TopicHome::One(0));
    }
}
