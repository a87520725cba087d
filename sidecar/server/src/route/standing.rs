use std::sync::atomic::{AtomicUsize, Ordering};

/// How many of the streams to data groups, which one stream of a client needs, are up: open, or
/// not tried in vain since they were.
#[derive(Debug)]
pub(super) struct Standing(AtomicUsize);

impl Standing {
    /// So many streams, which are about to be opened.
    pub(super) fn new(count: usize) -> Self {
        Self(AtomicUsize::new(count))
    }

    /// One of them could not be opened; false when no other one is left.
    pub(super) fn down(&self) -> bool {
        self.0.fetch_sub(1, Ordering::AcqRel) > 1
    }

    /// One that was down is open again.
    pub(super) fn up(&self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }
}
