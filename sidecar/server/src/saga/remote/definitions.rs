use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use outrigger_core::saga::{Definition, definition::Version};

use super::Options;

/// Definitions by name and version. What a version says never changes, so they never get out
/// of date; when there are too many, all are forgotten.
#[derive(Debug, Default)]
pub(super) struct Definitions {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    by_version: BTreeMap<(String, Version), Arc<Definition>>,
    /// What was the latest version of a name when it was asked for last.
    latest: BTreeMap<String, Arc<Definition>>,
    bytes: usize,
}

impl Definitions {
    pub(super) fn find(&self, name: &str, version: Version) -> Option<Arc<Definition>> {
        let known = self.known();
        known.by_version.get(&(name.to_owned(), version)).cloned()
    }

    /// What was the latest version; there may be a later one.
    pub(super) fn latest(&self, name: &str) -> Option<Arc<Definition>> {
        self.known().latest.get(name).cloned()
    }

    pub(super) fn keep_latest(&self, definition: &Arc<Definition>) {
        let name = definition.name().to_owned();
        self.known().latest.insert(name, Arc::clone(definition));
    }

    /// Keeps it, and gives back the one that everybody has.
    pub(super) fn keep(&self, definition: Definition, options: &Options) -> Arc<Definition> {
        let key = (definition.name().to_owned(), definition.version());
        let mut known = self.known();
        if let Some(known) = known.by_version.get(&key) {
            return Arc::clone(known);
        }
        let bytes = definition.encoded().len();
        let is_full = known.by_version.len() >= options.definitions_max
            || known.bytes + bytes > options.definitions_bytes_max;
        if is_full {
            *known = Known::default();
        }
        known.bytes += bytes;
        let definition = Arc::new(definition);
        known.by_version.insert(key, Arc::clone(&definition));
        definition
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
