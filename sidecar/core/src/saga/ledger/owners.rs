use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytes::{BufMut as _, Bytes};

use super::{Counters, OwnerId, Refusal};
use crate::{
    limits::{SAGA_ACTED_ON_COUNT_MAX, SAGA_OWNERS_COUNT_MAX, SAGA_TAKEN_COUNT_MAX},
    saga::codec::{
        DecodeError, check_end, check_version, get_count, get_text, put_count, put_text,
    },
    wire::get_u64,
};

const WHAT: &str = "owner of sagas";
const VERSION: u8 = 1;

/// One stretch of time in which an owner owns sagas: from its first sign of life until it is
/// gone, or has given everything back. An owner that comes back after that has a new one.
#[derive(Debug)]
struct Tenure {
    owner: OwnerId,
    /// 0: it has given everything back.
    until_ms: u64,
    sagas: BTreeMap<Arc<str>, Notices>,
    /// What it has to be told, by number, until it has heard of it.
    taken: BTreeMap<u64, Arc<str>>,
    acted_on: BTreeMap<u64, Arc<str>>,
}

/// The numbers of what an owner has to be told about one saga.
#[derive(Debug, Clone, Copy, Default)]
struct Notices {
    taken: Option<u64>,
    acted_on: Option<u64>,
}

/// What an owner is told.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) taken: Vec<Arc<str>>,
    pub(super) acted_on: Vec<Arc<str>>,
    pub(super) upto: u64,
    /// There was more than is told at once.
    pub(super) more: bool,
}

/// Who owns what, and until when.
#[derive(Debug, Default)]
pub(super) struct Owners {
    /// Sagas that nobody owns.
    free: BTreeSet<Arc<str>>,
    tenures: BTreeMap<u64, Tenure>,
    /// Of those that have not given everything back.
    by_owner: BTreeMap<OwnerId, u64>,
    ends: BTreeSet<(u64, u64)>,
    last_number: u64,
    /// One series for all tenures: what an owner has heard in an earlier one says nothing
    /// about a later one.
    last_notice: u64,
    changed: BTreeSet<u64>,
}

impl Owners {
    /// The owner of a tenure, as long as it has not given everything back.
    pub(super) fn owner(&self, tenure: u64) -> Option<OwnerId> {
        let tenure = self.tenures.get(&tenure)?;
        (tenure.until_ms > 0).then_some(tenure.owner)
    }

    /// The tenure of an owner that counts as alive, and until when it does.
    pub(super) fn alive(&self, owner: OwnerId, now_ms: u64) -> Option<(u64, u64)> {
        let number = *self.by_owner.get(&owner)?;
        let until_ms = self.tenures.get(&number)?.until_ms;
        (now_ms < until_ms).then_some((number, until_ms))
    }

    /// The tenure of an owner; a new one when it has none.
    pub(super) fn tenure(&mut self, owner: OwnerId) -> Result<u64, Refusal> {
        if let Some(number) = self.by_owner.get(&owner) {
            return Ok(*number);
        }
        let limit = SAGA_OWNERS_COUNT_MAX;
        if self.tenures.len() >= limit {
            return Err(Refusal::TooManyOwners { limit });
        }
        self.last_number += 1;
        self.enter(self.last_number, owner, 0);
        self.by_owner.insert(owner, self.last_number);
        Ok(self.last_number)
    }

    fn enter(&mut self, number: u64, owner: OwnerId, until_ms: u64) {
        let tenure = Tenure {
            owner,
            until_ms,
            sagas: BTreeMap::new(),
            taken: BTreeMap::new(),
            acted_on: BTreeMap::new(),
        };
        self.tenures.insert(number, tenure);
        self.ends.insert((until_ms, number));
        self.changed.insert(number);
    }

    /// The owner is alive until then. Answers until when it counts as alive; that never gets
    /// less.
    pub(super) fn renew(&mut self, number: u64, until_ms: u64) -> u64 {
        let Some(tenure) = self.tenures.get_mut(&number) else {
            return 0;
        };
        let until_ms = tenure.until_ms.max(until_ms);
        self.ends.remove(&(tenure.until_ms, number));
        self.ends.insert((until_ms, number));
        tenure.until_ms = until_ms;
        self.changed.insert(number);
        until_ms
    }

    /// The owner gives everything back, for ever: when it comes back it owns nothing.
    pub(super) fn give_back(&mut self, owner: OwnerId) {
        let Some(number) = self.by_owner.remove(&owner) else {
            return;
        };
        let Some(tenure) = self.tenures.get_mut(&number) else {
            return;
        };
        self.ends.remove(&(tenure.until_ms, number));
        self.ends.insert((0, number));
        tenure.until_ms = 0;
        self.changed.insert(number);
        if tenure.sagas.is_empty() {
            self.remove(number);
        }
    }

    fn remove(&mut self, number: u64) {
        let Some(tenure) = self.tenures.remove(&number) else {
            return;
        };
        self.ends.remove(&(tenure.until_ms, number));
        if self.by_owner.get(&tenure.owner) == Some(&number) {
            self.by_owner.remove(&tenure.owner);
        }
        self.changed.insert(number);
    }

    /// A saga without an owner: those that never had one first, then those of owners that
    /// are gone, the one first that went first.
    pub(super) fn next_orphan(&mut self, now_ms: u64) -> Option<Arc<str>> {
        if let Some(id) = self.free.first() {
            return Some(Arc::clone(id));
        }
        loop {
            let (until_ms, number) = self.ends.first().copied()?;
            if now_ms < until_ms {
                return None;
            }
            let tenure = self.tenures.get(&number)?;
            match tenure.sagas.first_key_value() {
                Some((id, _)) => return Some(Arc::clone(id)),
                None => self.remove(number),
            }
        }
    }

    /// Nobody owns it any more, and nobody looks for it.
    pub(super) fn leave(&mut self, id: &str, tenure: Option<u64>) {
        let Some(number) = tenure else {
            self.free.remove(id);
            return;
        };
        if let Some(tenure) = self.tenures.get_mut(&number)
            && let Some(notices) = tenure.sagas.remove(id)
            && tenure.drop_notices(notices)
        {
            self.changed.insert(number);
        }
    }

    /// From now on this tenure has it; nobody, without one. The owner is told about it.
    pub(super) fn join(&mut self, id: Arc<str>, tenure: Option<u64>) {
        let Some(number) = tenure else {
            self.free.insert(id);
            return;
        };
        if let Some(tenure) = self.tenures.get_mut(&number) {
            self.last_notice += 1;
            let notice = self.last_notice;
            tenure.taken.insert(notice, Arc::clone(&id));
            let taken = Some(notice);
            let notices = Notices {
                taken,
                acted_on: None,
            };
            tenure.sagas.insert(id, notices);
            self.changed.insert(number);
        }
    }

    /// Others did something to a saga of this tenure.
    pub(super) fn acted_on(&mut self, id: &Arc<str>, number: u64) {
        if let Some(tenure) = self.tenures.get_mut(&number)
            && let Some(notices) = tenure.sagas.get_mut(id)
        {
            self.last_notice += 1;
            let notice = self.last_notice;
            if let Some(before) = notices.acted_on.replace(notice) {
                tenure.acted_on.remove(&before);
            }
            tenure.acted_on.insert(notice, Arc::clone(id));
            self.changed.insert(number);
        }
    }

    /// The owner knows all about it.
    pub(super) fn heard_of(&mut self, id: &str, number: u64) {
        if let Some(tenure) = self.tenures.get_mut(&number)
            && let Some(notices) = tenure.sagas.get_mut(id)
        {
            let notices = std::mem::take(notices);
            if tenure.drop_notices(notices) {
                self.changed.insert(number);
            }
        }
    }

    /// The owner has heard everything up to this number. Answers how many sagas it has not
    /// heard of that it has taken over.
    pub(super) fn heard(&mut self, number: u64, upto: u64) -> usize {
        let Some(tenure) = self.tenures.get_mut(&number) else {
            return 0;
        };
        while let Some(entry) = tenure.taken.first_entry()
            && *entry.key() <= upto
        {
            let id = entry.remove();
            if let Some(notices) = tenure.sagas.get_mut(&id) {
                notices.taken = None;
            }
        }
        while let Some(entry) = tenure.acted_on.first_entry()
            && *entry.key() <= upto
        {
            let id = entry.remove();
            if let Some(notices) = tenure.sagas.get_mut(&id) {
                notices.acted_on = None;
            }
        }
        tenure.taken.len()
    }

    /// What this owner has to be told.
    pub(super) fn tell(&self, number: u64) -> Told {
        let Some(tenure) = self.tenures.get(&number) else {
            return Told::default();
        };
        let mut told = Told {
            upto: self.last_notice,
            ..Told::default()
        };
        for (notices, most, ids) in [
            (&tenure.taken, SAGA_TAKEN_COUNT_MAX, &mut told.taken),
            (
                &tenure.acted_on,
                SAGA_ACTED_ON_COUNT_MAX,
                &mut told.acted_on,
            ),
        ] {
            ids.extend(notices.values().take(most).cloned());
            if let Some(untold) = notices.keys().nth(most) {
                told.upto = told.upto.min(untold - 1);
                told.more = true;
            }
        }
        told
    }

    pub(super) fn has_orphans(&mut self, now_ms: u64) -> bool {
        self.next_orphan(now_ms).is_some()
    }

    /// How many sagas nobody alive owns.
    pub(super) fn orphans(&self, now_ms: u64) -> u64 {
        let gone = self
            .ends
            .iter()
            .take_while(|(until_ms, _)| *until_ms <= now_ms);
        let gone = gone.filter_map(|(_, number)| self.tenures.get(number));
        let count = gone.map(|tenure| tenure.sagas.len()).sum::<usize>() + self.free.len();
        u64::try_from(count).unwrap_or(u64::MAX)
    }

    /// How many owners count as alive.
    pub(super) fn alive_count(&self, now_ms: u64) -> u64 {
        let alive = self
            .tenures
            .values()
            .filter(|tenure| now_ms < tenure.until_ms);
        u64::try_from(alive.count()).unwrap_or(u64::MAX)
    }
}

impl Tenure {
    /// False when there were none.
    fn drop_notices(&mut self, notices: Notices) -> bool {
        let taken = notices.taken.map(|number| self.taken.remove(&number));
        let acted_on = notices.acted_on.map(|number| self.acted_on.remove(&number));
        taken.is_some() || acted_on.is_some()
    }

    fn encode(&self) -> Vec<u8> {
        let mut to = Vec::new();
        to.put_u8(VERSION);
        to.put_u128_le(self.owner);
        to.put_u64_le(self.until_ms);
        for notices in [&self.taken, &self.acted_on] {
            put_count(&mut to, notices.len());
            for (number, id) in notices {
                to.put_u64_le(*number);
                put_text(&mut to, id);
            }
        }
        to
    }
}

/// For checkpoints.
impl Owners {
    pub(super) fn counters(&self) -> Counters {
        Counters {
            last_tenure: self.last_number,
            last_notice: self.last_notice,
        }
    }

    pub(super) fn changed(&self) -> usize {
        self.changed.len()
    }

    /// Takes out what has changed; nothing where there is no such tenure any more.
    pub(super) fn take_changed(&mut self) -> Vec<(u64, Option<Vec<u8>>)> {
        let changed = std::mem::take(&mut self.changed);
        let written = |number| (number, self.tenures.get(&number).map(Tenure::encode));
        changed.into_iter().map(written).collect()
    }

    pub(super) fn put_back(&mut self, taken: &[(u64, Option<Vec<u8>>)]) {
        self.changed.extend(taken.iter().map(|(number, _)| *number));
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (u64, Vec<u8>)> {
        self.tenures
            .iter()
            .map(|(number, tenure)| (*number, tenure.encode()))
    }

    /// Before the sagas.
    pub(super) fn restore(&mut self, number: u64, mut from: Bytes) -> Result<(), DecodeError> {
        let from = &mut from;
        check_version(from, WHAT, VERSION)?;
        let (low, high) = (get_u64(from)?, get_u64(from)?);
        let owner = u128::from(low) | u128::from(high) << 64;
        let until_ms = get_u64(from)?;
        let mut both = [BTreeMap::new(), BTreeMap::new()];
        for notices in &mut both {
            for _ in 0..get_count(from)? {
                let notice = get_u64(from)?;
                notices.insert(notice, Arc::from(get_text(from, "the id of a saga")?));
            }
        }
        check_end(from)?;
        self.enter(number, owner, until_ms);
        self.changed.remove(&number);
        if until_ms > 0 {
            self.by_owner.insert(owner, number);
        }
        if let Some(tenure) = self.tenures.get_mut(&number) {
            [tenure.taken, tenure.acted_on] = both;
        }
        Ok(())
    }

    pub(super) fn restore_counters(&mut self, counters: Counters) {
        self.last_number = counters.last_tenure;
        self.last_notice = counters.last_notice;
    }

    /// Every saga whose owner there is.
    pub(super) fn restore_saga(&mut self, id: &Arc<str>, tenure: Option<u64>) {
        match tenure {
            None => {
                self.free.insert(Arc::clone(id));
            }
            Some(number) => {
                if let Some(tenure) = self.tenures.get_mut(&number) {
                    tenure.sagas.insert(Arc::clone(id), Notices::default());
                }
            }
        }
    }

    /// After the sagas.
    pub(super) fn restored(&mut self) {
        for tenure in self.tenures.values_mut() {
            for (number, id) in &tenure.taken {
                if let Some(notices) = tenure.sagas.get_mut(id) {
                    notices.taken = Some(*number);
                }
            }
            for (number, id) in &tenure.acted_on {
                if let Some(notices) = tenure.sagas.get_mut(id) {
                    notices.acted_on = Some(*number);
                }
            }
        }
    }
}
