use std::fmt;

/// Where the stored bytes of a message begin: in which entry of the log, and where in its
/// body. The same on every node, whatever else lies between the entries in a node's files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The entry's index in the log of its Raft group.
    pub index: u64,
    /// Bytes from the beginning of the entry's body.
    pub offset: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "byte {} of entry {}", self.offset, self.index)
    }
}
