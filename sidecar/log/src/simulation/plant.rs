use std::cell::Cell;
use std::fmt;
use std::str::FromStr;

use outrigger_core::simulation as saga;

/// A mistake that is made on purpose, to see whether it is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// The log says that an entry is durable when it is only written.
    AckBeforeSync,
    /// A command is acknowledged when the leader alone has it. Made by the driver of the world.
    LeaderAlone,
    /// A node votes before its vote is durable.
    VoteNotSynced,
    /// A start cuts the last whole record off the log.
    GoodRecordCut,
    /// A leader that restarts within its lease goes on in its term.
    LeaderRestore,
    /// Checkpoints do not wait for the log, and a start does not look whether derived state is
    /// ahead of it.
    DerivedAhead,
    /// Events of a saga are recorded whatever epoch their sender has.
    EpochIgnored,
    /// Who takes a saga over gets the epoch of the owner before.
    EpochTwice,
    /// What people did to a saga is forgotten when it is read from the disk.
    UnseenForgotten,
    /// Who carries sagas out calls before it is durable that it calls.
    CallsEarly,
    /// Who carries sagas out takes events for recorded of which nobody knows.
    UnknownIsDone,
}

thread_local! {
    static PLANTED: Cell<Option<Plant>> = const { Cell::new(None) };
}

/// Whether this mistake is to be made on this thread.
#[must_use]
pub fn is_planted(plant: Plant) -> bool {
    PLANTED.get() == Some(plant)
}

impl Plant {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::AckBeforeSync,
        Self::LeaderAlone,
        Self::VoteNotSynced,
        Self::GoodRecordCut,
        Self::LeaderRestore,
        Self::DerivedAhead,
        Self::EpochIgnored,
        Self::EpochTwice,
        Self::UnseenForgotten,
        Self::CallsEarly,
        Self::UnknownIsDone,
    ];

    /// The mistake as the core knows it.
    fn in_the_rules_of_sagas(self) -> Option<saga::Plant> {
        match self {
            Self::EpochIgnored => Some(saga::Plant::EpochIgnored),
            Self::EpochTwice => Some(saga::Plant::EpochTwice),
            Self::UnseenForgotten => Some(saga::Plant::UnseenForgotten),
            Self::AckBeforeSync
            | Self::LeaderAlone
            | Self::VoteNotSynced
            | Self::GoodRecordCut
            | Self::LeaderRestore
            | Self::DerivedAhead
            | Self::CallsEarly
            | Self::UnknownIsDone => None,
        }
    }

    /// Makes this mistake on this thread from now on, or none.
    pub(super) fn set(plant: Option<Self>) {
        PLANTED.set(plant);
        saga::set(plant.and_then(Self::in_the_rules_of_sagas));
    }
}

impl fmt::Display for Plant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AckBeforeSync => "ack-before-sync",
            Self::LeaderAlone => "leader-alone",
            Self::VoteNotSynced => "vote-not-synced",
            Self::GoodRecordCut => "good-record-cut",
            Self::LeaderRestore => "leader-restore",
            Self::DerivedAhead => "derived-ahead",
            Self::EpochIgnored => "epoch-ignored",
            Self::EpochTwice => "epoch-twice",
            Self::UnseenForgotten => "unseen-forgotten",
            Self::CallsEarly => "calls-early",
            Self::UnknownIsDone => "unknown-is-done",
        })
    }
}

impl FromStr for Plant {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL
            .into_iter()
            .find(|plant| plant.to_string() == name);
        let all = Self::ALL.map(|plant| plant.to_string()).join(", ");
        found.ok_or_else(|| format!("{name} is none of {all}"))
    }
}
