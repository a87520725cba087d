use super::Member;

/// Who leads, as far as this node knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leadership {
    /// This node, and everything that was acknowledged before has been applied here.
    Leading {
        /// Its term.
        term: u64,
    },
    /// Another node, or nobody, or this node before it has applied what came before.
    Following {
        /// Who leads.
        leader: Option<(u64, Member)>,
        /// The newest term that this node knows of.
        term: u64,
    },
}

impl Leadership {
    /// True when this node leads.
    #[must_use]
    pub fn is_leading(&self) -> bool {
        matches!(self, Self::Leading { .. })
    }
}
