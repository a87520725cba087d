//! Lets expired records go while the store compacts its files.
//!
//! Whether a record has expired is decided by the state machine at the moment it looks, by
//! the time stamp of the entry that it applies. Taking an expired record off the disk
//! changes no answer, as long as no entry with an older stamp is applied after it: so the
//! horizon is the stamp of a checkpoint on disk, less a margin.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fjall::compaction::filter::{CompactionFilter, Context, Factory, ItemAccessor, Verdict};

use super::Table;

/// How far behind the last checkpoint records are kept, should a crash lose the newest
/// checkpoints.
const MARGIN_MS: u64 = 60 * 60 * 1_000;

/// Records with an expiry at or before this instant may go.
#[derive(Clone, Debug, Default)]
pub(super) struct Horizon(Arc<AtomicU64>);

impl Horizon {
    /// A checkpoint with this stamp is on disk.
    pub(super) fn advance(&self, stamp_ms: u64) {
        let horizon = stamp_ms.saturating_sub(MARGIN_MS);
        self.0.fetch_max(horizon, Ordering::Relaxed);
    }
}

impl Factory for Horizon {
    fn name(&self) -> &'static str {
        "expired records"
    }

    fn make_filter(&self, _context: &Context) -> Box<dyn CompactionFilter> {
        Box::new(Filter {
            horizon_ms: self.0.load(Ordering::Relaxed),
        })
    }
}

struct Filter {
    horizon_ms: u64,
}

impl CompactionFilter for Filter {
    fn filter_item(
        &mut self,
        item: ItemAccessor<'_>,
        _context: &Context,
    ) -> Result<Verdict, fjall::LsmError> {
        if !Table::expires(item.key()) {
            return Ok(Verdict::Keep);
        }
        let value = item.value()?;
        let expires_at_ms = value.first_chunk::<8>().copied().map(u64::from_le_bytes);
        Ok(match expires_at_ms {
            Some(expires_at_ms) if expires_at_ms <= self.horizon_ms => Verdict::Remove,
            Some(_) | None => Verdict::Keep,
        })
    }
}
