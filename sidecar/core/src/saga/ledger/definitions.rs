use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytes::{BufMut as _, Bytes};

use super::{Answer, Refusal};
use crate::{
    saga::{
        Definition,
        codec::{DecodeError, check_version, damaged},
        definition::Version,
    },
    wire::get_u64,
};

const WHAT: &str = "kept saga definition";
const FORMAT: u8 = 1;

/// A definition that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Defined {
    /// What it says.
    pub definition: Arc<Definition>,
    /// When it came first, in milliseconds since the Unix epoch.
    pub defined_at_ms: u64,
    /// It is the one that is taken unless a version is named.
    pub latest: bool,
}

#[derive(Debug, Clone)]
struct One {
    definition: Arc<Definition>,
    defined_at_ms: u64,
    /// Grows whenever any definition is given; the highest one of a name is the latest.
    number: u64,
}

/// All definitions of a data group.
#[derive(Debug, Default)]
pub(super) struct Definitions {
    named: BTreeMap<String, BTreeMap<Version, One>>,
    count: u64,
    last_number: u64,
    changed: BTreeSet<(String, Version)>,
}

impl Definitions {
    pub(super) fn define(
        &mut self,
        now_ms: u64,
        encoded: Bytes,
        limit: u64,
    ) -> Result<Answer, Refusal> {
        let definition = Definition::decode(encoded)?;
        definition.check_sub_sagas(&|name, version| self.get(name, version).cloned())?;
        let (name, version) = (definition.name().to_owned(), definition.version());
        let number = self.last_number + 1;
        let known = self.named.get_mut(&name);
        if let Some(one) = known.and_then(|versions| versions.get_mut(&version)) {
            one.number = number;
            self.note(name, version, number);
            let created = false;
            return Ok(Answer::Defined { version, created });
        }
        if self.count >= limit {
            return Err(Refusal::TooManyDefinitions { limit });
        }
        let one = One {
            definition: Arc::new(definition),
            defined_at_ms: now_ms,
            number,
        };
        self.count += 1;
        self.named
            .entry(name.clone())
            .or_default()
            .insert(version, one);
        self.note(name, version, number);
        let created = true;
        Ok(Answer::Defined { version, created })
    }

    fn note(&mut self, name: String, version: Version, number: u64) {
        self.last_number = number;
        self.changed.insert((name, version));
    }

    pub(super) fn get(&self, name: &str, version: Version) -> Option<&Arc<Definition>> {
        let one = self.named.get(name)?.get(&version)?;
        Some(&one.definition)
    }

    pub(super) fn latest(&self, name: &str) -> Option<&Arc<Definition>> {
        let versions = self.named.get(name)?.values();
        let one = versions.max_by_key(|one| one.number)?;
        Some(&one.definition)
    }

    /// All versions of one name, or the latest of every name.
    pub(super) fn list(&self, name: Option<&str>) -> Vec<Defined> {
        let latest = |versions: &BTreeMap<Version, One>| {
            let numbers = versions.values().map(|one| one.number);
            numbers.max().unwrap_or_default()
        };
        let defined = |one: &One, latest: u64| Defined {
            definition: Arc::clone(&one.definition),
            defined_at_ms: one.defined_at_ms,
            latest: one.number == latest,
        };
        match name {
            Some(name) => {
                let versions = self.named.get(name);
                let all = versions.map(|versions| {
                    let latest = latest(versions);
                    versions.values().map(|one| defined(one, latest)).collect()
                });
                all.unwrap_or_default()
            }
            None => {
                let all = self.named.values().filter_map(|versions| {
                    let latest = latest(versions);
                    let mut ones = versions.values();
                    let one = ones.find(|one| one.number == latest)?;
                    Some(defined(one, latest))
                });
                all.collect()
            }
        }
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn changed(&self) -> usize {
        self.changed.len()
    }

    /// Takes out what has changed, in the form that [`Definitions::restore`] reads.
    pub(super) fn take_changed(&mut self) -> Vec<(String, Version, Vec<u8>)> {
        let changed = std::mem::take(&mut self.changed);
        let written = changed.into_iter().filter_map(|(name, version)| {
            let one = self.named.get(&name)?.get(&version)?;
            Some((name, version, one.encode()))
        });
        written.collect()
    }

    pub(super) fn put_back(&mut self, taken: &[(String, Version, Vec<u8>)]) {
        let keys = taken
            .iter()
            .map(|(name, version, _)| (name.clone(), *version));
        self.changed.extend(keys);
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (&str, Version, Vec<u8>)> {
        self.named.iter().flat_map(|(name, versions)| {
            let one =
                move |(version, one): (&Version, &One)| (name.as_str(), *version, one.encode());
            versions.iter().map(one)
        })
    }

    pub(super) fn restore(&mut self, mut from: Bytes) -> Result<(), DecodeError> {
        check_version(&mut from, WHAT, FORMAT)?;
        let number = get_u64(&mut from)?;
        let defined_at_ms = get_u64(&mut from)?;
        let definition = Definition::decode(from).map_err(|_| damaged(WHAT))?;
        let (name, version) = (definition.name().to_owned(), definition.version());
        let one = One {
            definition: Arc::new(definition),
            defined_at_ms,
            number,
        };
        self.last_number = self.last_number.max(number);
        let replaced = self.named.entry(name).or_default().insert(version, one);
        self.count += u64::from(replaced.is_none());
        Ok(())
    }
}

impl One {
    fn encode(&self) -> Vec<u8> {
        let encoded = self.definition.encoded();
        let mut to = Vec::with_capacity(17 + encoded.len());
        to.put_u8(FORMAT);
        to.put_u64_le(self.number);
        to.put_u64_le(self.defined_at_ms);
        to.put_slice(encoded);
        to
    }
}
