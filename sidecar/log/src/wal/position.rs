/// A place in the write-ahead log of this node, in the order of writing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Position {
    /// The sequence number of the segment, from 1.
    pub(crate) segment: u32,
    /// Bytes from the beginning of the segment.
    pub(crate) offset: u32,
}
