//! The same promises kept naively: every event in a list, every question answered by looking
//! at all of it. And owners who lose answers.

mod carry_out;
mod tries;

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use proptest::{collection::vec, prelude::*};

use super::{begin, chain, nested, start, succeed};
use crate::saga::{
    Definition, Phase, Record, child_id,
    event::{Act, Event, Note, Parent, Start},
    ledger::{Command, Kind, Ledger, Limits, OwnerId},
    record::Status,
};
use tries::{Try, attempt};

const SAGAS: usize = 3;
const LEASE_MS: u64 = 300;

fn limits() -> Limits {
    Limits {
        sagas_max: 2,
        definitions_max: 10,
        events_max: 1_000,
        unseen_acts_max: 3,
        retention_ms: 700,
    }
}

/// Everything about one saga.
struct Naive {
    start: Start,
    definition: Arc<Definition>,
    /// With who recorded it: its owner, or somebody else.
    events: Vec<(Event, bool)>,
    epoch: u64,
    owner: Option<OwnerId>,
    ended_at_ms: Option<u64>,
    /// Since when neither it nor anything that it is a part of has anything left to do.
    over_since_ms: Option<u64>,
    /// From which event on the owner may have missed some.
    seen: usize,
}

impl Naive {
    fn record(&self) -> Record {
        let record = Record::start(Arc::clone(&self.definition), self.start.clone());
        let mut record = record.unwrap();
        for (event, _) in &self.events {
            record.apply(event).unwrap();
        }
        record
    }
}

/// What an owner knows: of which sagas, with which epoch, and how many of their events.
#[derive(Default)]
struct Executor {
    knows: BTreeMap<String, (u64, u64)>,
    heard: u64,
}

struct World {
    ledger: Ledger,
    now_ms: u64,
    definitions: [Arc<Definition>; 2],
    sagas: BTreeMap<String, Naive>,
    alive: BTreeMap<OwnerId, u64>,
    executors: BTreeMap<OwnerId, Executor>,
}

impl World {
    fn new() -> Self {
        let inner = chain("inner", &["a"]);
        let outer = nested("outer", &inner);
        let mut ledger = Ledger::new(limits());
        for definition in [&inner, &outer] {
            let encoded = definition.encoded().clone();
            ledger.apply(1_000, Command::Define { encoded });
        }
        Self {
            ledger,
            now_ms: 1_000,
            definitions: [inner, outer],
            sagas: BTreeMap::new(),
            alive: BTreeMap::new(),
            executors: BTreeMap::new(),
        }
    }

    fn id(saga: usize, inner: bool) -> String {
        match inner {
            true => child_id(&format!("s{saga}"), "inner"),
            false => format!("s{saga}"),
        }
    }

    fn is_alive(&self, owner: OwnerId) -> bool {
        self.alive
            .get(&owner)
            .is_some_and(|until_ms| self.now_ms < *until_ms)
    }

    /// Forgets what is over for long enough.
    fn forget(&mut self) {
        let retention_ms = self.ledger.limits.retention_ms;
        let now_ms = self.now_ms;
        self.sagas.retain(|_, naive| {
            naive
                .over_since_ms
                .is_none_or(|since_ms| now_ms < since_ms + retention_ms)
        });
    }

    /// Takes note of what has ended, and of everything that is over with it.
    fn settle(&mut self) {
        let now_ms = self.now_ms;
        let states: BTreeMap<_, _> = self
            .sagas
            .iter()
            .map(|(id, naive)| {
                let record = naive.record();
                let ended = !Kind::of(record.status()).is_active();
                (id.clone(), (ended, record.is_finished()))
            })
            .collect();
        // A saga before its parts.
        let mut over = BTreeMap::new();
        for (id, naive) in &mut self.sagas {
            let (ended, finished) = states[id];
            naive.ended_at_ms = ended.then(|| naive.ended_at_ms.unwrap_or(now_ms));
            if finished {
                naive.owner = None;
            }
            let whole = id.rsplit_once('/').map(|(whole, _)| whole);
            let whole_is_over = whole
                .and_then(|whole| over.get(whole))
                .copied()
                .unwrap_or(true);
            let is_over = finished && whole_is_over;
            naive.over_since_ms = is_over.then(|| naive.over_since_ms.unwrap_or(now_ms));
            over.insert(id.clone(), is_over);
        }
    }

    fn orphans(&self) -> Vec<String> {
        let orphans = self.sagas.iter().filter(|(_, naive)| {
            let owned = naive.owner.is_some_and(|owner| self.is_alive(owner));
            !owned && !naive.record().is_finished()
        });
        orphans.map(|(id, _)| id.clone()).collect()
    }

    fn attempt(&mut self, attempt: &Try) -> Result<(), TestCaseError> {
        self.forget();
        match attempt.clone() {
            Try::Start { saga, owner, lost } => {
                let definition = &self.definitions[saga % 2];
                let start = start(definition, &Self::id(saga, false));
                self.start(start, owner, lost)?;
            }
            Try::StartInner { saga, owner, lost } => {
                let mut start = start(&self.definitions[0], &Self::id(saga, true));
                let (saga, step) = (Self::id(saga, false), "inner".to_owned());
                start.parent = Some(Parent { saga, step });
                self.start(start, Some(owner), lost)?;
            }
            Try::Append {
                saga,
                inner,
                which,
                epoch_off,
                after_off,
            } => {
                self.append(Self::id(saga, inner), &which, epoch_off, after_off)?;
            }
            Try::Act { saga, inner, which } => {
                let act = match which {
                    0 => Act::Park,
                    1 => Act::Resume,
                    2 => Act::Retry { step: 0 },
                    3 => Act::EditInput {
                        step: 0,
                        phase: Phase::Action,
                        input: Bytes::from_static(b"edited"),
                    },
                    _ => Act::Undo,
                };
                self.act(
                    Self::id(saga, inner),
                    act,
                    Note::by_saga(&Self::id(saga, false)),
                )?;
            }
            Try::Report {
                saga,
                inner,
                phase,
                success,
            } => {
                self.report(Self::id(saga, inner), phase, success)?;
            }
            Try::Own {
                owner,
                take_max,
                lost,
            } => self.own(owner, take_max, lost)?,
            Try::GiveBack { owner, lost } => {
                let (lease_ms, take_max) = (0, 3);
                let command = Command::Own {
                    owner,
                    lease_ms,
                    take_max,
                    heard: 0,
                };
                self.ledger.apply(self.now_ms, command);
                self.alive.remove(&owner);
                for naive in self.sagas.values_mut() {
                    if naive.owner == Some(owner) {
                        naive.owner = None;
                    }
                }
                // It has dropped everything before it asked.
                let executor = self.executors.entry(owner).or_default();
                executor.knows.clear();
                let _ = lost;
            }
        }
        self.settle();
        self.check()
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let counts = self.ledger.counts(self.now_ms);
        let records: Vec<_> = self.sagas.values().map(Naive::record).collect();
        let kinds = records.iter().map(|record| Kind::of(record.status()));
        prop_assert_eq!(
            counts.not_ended,
            kinds.filter(|kind| kind.is_active()).count() as u64
        );
        let parked = |record: &&Record| matches!(record.status(), Status::Parked { .. });
        prop_assert_eq!(counts.parked, records.iter().filter(parked).count() as u64);
        prop_assert_eq!(counts.orphans, self.orphans().len() as u64);
        for saga in 0..SAGAS {
            for inner in [false, true] {
                let id = Self::id(saga, inner);
                let view = self.ledger.view(self.now_ms, &id);
                let (Some(view), Some(naive)) = (&view, self.sagas.get(&id)) else {
                    let is = view.is_some();
                    prop_assert_eq!(is, self.sagas.contains_key(&id), "{}", id);
                    continue;
                };
                prop_assert_eq!(&view.record, &naive.record());
                prop_assert_eq!((view.epoch, view.owner), (naive.epoch, naive.owner));
                prop_assert_eq!(view.ended_at_ms, naive.ended_at_ms);
                let last = view.history.last().map_or(0, |entry| entry.sequence);
                prop_assert_eq!(last, naive.events.len() as u64);
                if !view.record.is_finished() {
                    let unseen = naive.events.get(naive.seen..).unwrap_or_default();
                    let unseen: Vec<_> = unseen.iter().map(|(event, _)| event.clone()).collect();
                    prop_assert_eq!(&view.unseen, &unseen);
                }
            }
        }
        Ok(())
    }

    /// When answers are not lost any more, every owner that is alive knows all sagas that it
    /// owns, and everything that others did to them.
    fn check_known(mut self) -> Result<(), TestCaseError> {
        let owners: Vec<_> = self.alive.keys().copied().collect();
        for owner in owners {
            self.own(owner, 3, false)?;
            let knows = &self.executors[&owner].knows;
            for (id, naive) in &self.sagas {
                if naive.owner == Some(owner) {
                    let expected = (naive.epoch, naive.events.len() as u64);
                    prop_assert_eq!(knows.get(id), Some(&expected), "{} of {}", id, owner);
                }
            }
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn the_ledger_does_what_is_naively_expected(
        tries in vec((0..200_u64, attempt()), 0..80)
    ) {
        let mut world = World::new();
        for (later_ms, attempt) in &tries {
            world.now_ms += later_ms;
            world.attempt(attempt)?;
        }
        world.check_known()?;
    }
}
