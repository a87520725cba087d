use super::segment::SEGMENT_BYTES_LIMIT;

/// How the write-ahead log is laid out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WalOptions {
    /// The size of a segment, once the log has grown to it.
    pub(crate) segment_bytes: u32,
    /// The size of the first segment; each following one is four times as large, up to
    /// `segment_bytes`.
    pub(crate) first_segment_bytes: u32,
    /// The newest entries that are kept in memory.
    pub(crate) tail_cache_bytes_max: usize,
    /// Tells the segments of this node from those of any other.
    pub(crate) owner: u64,
}

/// How much larger each of the first segments is than the one before.
const GROWTH: u64 = 4;

impl WalOptions {
    /// The size of the segment with this sequence number.
    pub(super) fn segment_bytes_of(&self, sequence: u32) -> u32 {
        let growth = GROWTH.saturating_pow(sequence.saturating_sub(1));
        let grown = u64::from(self.first_segment_bytes).saturating_mul(growth);
        let bytes = grown.min(u64::from(self.segment_bytes));
        bytes.min(u64::from(SEGMENT_BYTES_LIMIT)) as u32
    }
}
