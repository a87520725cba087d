use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use outrigger_log::TransactionId;

/// Why the last check of a transaction did not decide, for people; cheap to clone.
#[derive(Clone, Debug)]
pub struct LastChecks {
    notes: Arc<Mutex<Notes>>,
    notes_max: usize,
}

#[derive(Debug, Default)]
struct Notes {
    by_id: BTreeMap<TransactionId, (u64, String)>,
    /// Oldest first, so that it makes room.
    by_age: BTreeMap<u64, TransactionId>,
    next_age: u64,
}

impl LastChecks {
    /// Remembers so many transactions; a newer note takes the place of the oldest.
    pub(super) fn new(notes_max: usize) -> Self {
        Self {
            notes: Arc::default(),
            notes_max,
        }
    }

    /// The last reason, when it is known here.
    pub fn of(&self, id: TransactionId) -> Option<String> {
        self.notes().by_id.get(&id).map(|(_, why)| why.clone())
    }

    pub(super) fn note(&self, id: TransactionId, why: String) {
        let mut notes = self.notes();
        notes.remove(id);
        let age = notes.next_age;
        notes.next_age += 1;
        notes.by_id.insert(id, (age, why));
        notes.by_age.insert(age, id);
        if notes.by_id.len() > self.notes_max
            && let Some((_, oldest)) = notes.by_age.pop_first()
        {
            notes.by_id.remove(&oldest);
        }
    }

    pub(super) fn forget(&self, id: TransactionId) {
        self.notes().remove(id);
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Notes {
    fn remove(&mut self, id: TransactionId) {
        if let Some((age, _)) = self.by_id.remove(&id) {
            self.by_age.remove(&age);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_note_makes_room_for_the_newest() {
        let checks = LastChecks::new(2);
        let id = TransactionId;
        checks.note(id(1), "first".to_owned());
        checks.note(id(2), "second".to_owned());
        checks.note(id(1), "again".to_owned());
        checks.note(id(3), "third".to_owned());
        assert_eq!(checks.of(id(1)).as_deref(), Some("again"));
        assert_eq!(checks.of(id(2)), None);
        checks.forget(id(3));
        assert_eq!(checks.of(id(3)), None);
        checks.note(id(4), "fourth".to_owned());
        assert_eq!(checks.of(id(1)).as_deref(), Some("again"));
    }
}
