//! Changes since the last checkpoint, in memory, over the store on disk.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

/// Newer values over older ones: what came since the last checkpoint began, over what that
/// checkpoint is writing, over what is on disk (which the owner looks up by itself).
///
/// Only looked up, never walked through in an order that matters.
#[derive(Debug)]
pub(crate) struct Overlay<K, V> {
    current: HashMap<K, V>,
    flushing: Option<Arc<HashMap<K, V>>>,
}

impl<K, V> Default for Overlay<K, V> {
    fn default() -> Self {
        Self {
            current: HashMap::new(),
            flushing: None,
        }
    }
}

impl<K: Eq + Hash, V> Overlay<K, V> {
    /// The newest value, when it is not only on disk.
    pub(crate) fn get<Q>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let flushing = || self.flushing.as_ref().and_then(|map| map.get(key));
        self.current.get(key).or_else(flushing)
    }

    pub(crate) fn insert(&mut self, key: K, value: V) {
        self.current.insert(key, value);
    }

    /// Hands out the changes for a checkpoint; they stay visible until it has finished.
    pub(crate) fn begin(&mut self) -> Arc<HashMap<K, V>> {
        let begun = Arc::new(std::mem::take(&mut self.current));
        self.flushing = Some(Arc::clone(&begun));
        begun
    }

    /// The checkpoint is on disk. The result is to be dropped where it holds up nobody.
    pub(crate) fn finish(&mut self) -> Option<Arc<HashMap<K, V>>> {
        self.flushing.take()
    }

    /// The checkpoint could not be written: what it was handed is kept for the next one,
    /// except where there is a newer value.
    pub(crate) fn put_back(&mut self)
    where
        K: Clone,
        V: Clone,
    {
        let Some(flushing) = self.flushing.take() else {
            return;
        };
        let newer = std::mem::take(&mut self.current);
        self.current = Arc::unwrap_or_clone(flushing);
        self.current.extend(newer);
    }

    /// How many values no checkpoint has taken yet.
    pub(crate) fn len(&self) -> usize {
        self.current.len()
    }

    /// Older values first; for the digest, which sorts.
    pub(crate) fn layers(&self) -> impl Iterator<Item = (&K, &V)> {
        let flushing = self.flushing.iter().flat_map(|map| map.iter());
        flushing.chain(self.current.iter())
    }
}
