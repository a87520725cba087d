use std::{collections::BTreeMap, sync::Arc};

use super::Kept;

/// Sagas that have ended, by their id.
pub(super) type Layer = BTreeMap<Arc<str>, Arc<Kept>>;

/// Those that have ended since the last checkpoint began, over those that it is writing. All
/// others are only on disk.
#[derive(Debug, Default)]
pub(super) struct Ended {
    current: Layer,
    flushing: Option<Arc<Layer>>,
}

impl Ended {
    /// A saga that is in memory, and nothing in its place when it has expired; nothing at all
    /// when it can only be on disk.
    #[expect(clippy::option_option, reason = "known not to be there is not unknown")]
    pub(super) fn get(&self, now_ms: u64, id: &str) -> Option<Option<Arc<Kept>>> {
        let flushing = || self.flushing.as_ref().and_then(|layer| layer.get(id));
        let kept = self.current.get(id).or_else(flushing)?;
        Some((!kept.has_expired(now_ms)).then(|| Arc::clone(kept)))
    }

    pub(super) fn insert(&mut self, id: Arc<str>, kept: Arc<Kept>) {
        self.current.insert(id, kept);
    }

    /// It is not among these any more. What a checkpoint is writing stays in its hands.
    pub(super) fn forget(&mut self, id: &str) {
        self.current.remove(id);
    }

    pub(super) fn len(&self) -> usize {
        self.current.len()
    }

    pub(super) fn begin(&mut self) -> Arc<Layer> {
        let begun = Arc::new(std::mem::take(&mut self.current));
        self.flushing = Some(Arc::clone(&begun));
        begun
    }

    pub(super) fn finish(&mut self) -> Option<Arc<Layer>> {
        self.flushing.take()
    }

    /// The checkpoint could not be written. `keep` says which of its sagas still belong here.
    pub(super) fn put_back(&mut self, keep: impl Fn(&str) -> bool) {
        let Some(flushing) = self.flushing.take() else {
            return;
        };
        for (id, kept) in flushing.iter().filter(|(id, _)| keep(id)) {
            let current = self.current.entry(Arc::clone(id));
            current.or_insert_with(|| Arc::clone(kept));
        }
    }

    /// The newest one first.
    pub(super) fn layers(&self) -> [Option<&Layer>; 2] {
        [Some(&self.current), self.flushing.as_deref()]
    }
}
