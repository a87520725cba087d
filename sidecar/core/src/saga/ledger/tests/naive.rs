//! The same promises kept naively: every event in a list, every question answered by looking
//! at all of it. And owners who lose answers.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::{collection::vec, prelude::*};

use super::{begin, chain, nested, start, succeed};
use crate::saga::{
    Definition, Phase, Record, StepIndex, child_id,
    event::{Act, Event, Note, Parent, Start, UndoCause},
    ledger::{Answer, Command, Kind, Ledger, Limits, OwnerId, Refusal, Reported},
    owner,
    record::{Status, StepState},
};
use std::sync::Arc;

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

#[derive(Debug, Clone)]
enum Try {
    Start {
        saga: usize,
        owner: Option<OwnerId>,
        lost: bool,
    },
    StartInner {
        saga: usize,
        owner: OwnerId,
        lost: bool,
    },
    Append {
        saga: usize,
        inner: bool,
        which: Vec<usize>,
        epoch_off: i8,
        after_off: i8,
    },
    Act {
        saga: usize,
        inner: bool,
        which: usize,
    },
    Report {
        saga: usize,
        inner: bool,
        phase: Phase,
        success: bool,
    },
    Own {
        owner: OwnerId,
        take_max: u32,
        lost: bool,
    },
    GiveBack {
        owner: OwnerId,
        lost: bool,
    },
}

fn attempt() -> impl Strategy<Value = Try> {
    let saga = || (0..SAGAS, any::<bool>());
    let owner = || 1..4_u128;
    let lost = || prop::bool::weighted(0.3);
    let off = || prop_oneof![8 => Just(0_i8), 1 => Just(-1_i8), 1 => Just(1_i8)];
    let phase = prop_oneof![2 => Just(Phase::Action), 1 => Just(Phase::Undo)];
    prop_oneof![
        3 => (0..SAGAS, proptest::option::of(owner()), lost())
            .prop_map(|(saga, owner, lost)| Try::Start { saga, owner, lost }),
        3 => (0..SAGAS, owner(), lost())
            .prop_map(|(saga, owner, lost)| Try::StartInner { saga, owner, lost }),
        14 => (saga(), vec(0..12_usize, 0..4), off(), off()).prop_map(
            |((saga, inner), which, epoch_off, after_off)| Try::Append {
                saga, inner, which, epoch_off, after_off,
            }
        ),
        4 => (saga(), 0..5_usize)
            .prop_map(|((saga, inner), which)| Try::Act { saga, inner, which }),
        2 => (saga(), phase, any::<bool>()).prop_map(|((saga, inner), phase, success)| {
            Try::Report { saga, inner, phase, success }
        }),
        5 => (owner(), 0..3_u32, lost())
            .prop_map(|(owner, take_max, lost)| Try::Own { owner, take_max, lost }),
        1 => (owner(), lost()).prop_map(|(owner, lost)| Try::GiveBack { owner, lost }),
    ]
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

    fn start(
        &mut self,
        start: Start,
        owner: Option<OwnerId>,
        lost: bool,
    ) -> Result<(), TestCaseError> {
        let id = start.saga.clone();
        let command = Command::Start {
            start: start.clone(),
            owner,
        };
        let answer = self.ledger.apply(self.now_ms, command);
        if let Some(naive) = self.sagas.get(&id) {
            let owns = owner.is_some() && naive.owner == owner;
            let epoch = if owns { naive.epoch } else { 0 };
            prop_assert_eq!(
                answer,
                Answer::Started {
                    epoch,
                    created: false
                }
            );
            return Ok(());
        }
        let not_ended = self
            .sagas
            .values()
            .filter(|naive| naive.ended_at_ms.is_none())
            .count();
        let wanted = start.parent.as_ref().map(|parent| {
            let parent = self.sagas.get(&parent.saga);
            parent.is_some_and(|parent| {
                parent.definition.name() == "outer"
                    && parent.record().steps()[0].state() == StepState::Calling(Phase::Action)
            })
        });
        let allowed = wanted.unwrap_or(not_ended < 2);
        if !allowed {
            let refused = matches!(
                (&answer, wanted),
                (Answer::Refused(Refusal::NotWanted { .. }), Some(false))
                    | (Answer::Refused(Refusal::TooManySagas { limit: 2 }), None)
            );
            prop_assert!(refused, "{answer:?}");
            return Ok(());
        }
        let owner = owner.filter(|owner| self.is_alive(*owner));
        let epoch = u64::from(owner.is_some());
        prop_assert_eq!(
            answer,
            Answer::Started {
                epoch,
                created: true
            }
        );
        if let (Some(owner), false) = (owner, lost) {
            self.executors
                .entry(owner)
                .or_default()
                .knows
                .insert(id.clone(), (1, 0));
        }
        let definition = self
            .definitions
            .iter()
            .find(|one| one.name() == start.definition);
        let naive = Naive {
            definition: Arc::clone(definition.unwrap()),
            start: Start {
                start_at_ms: self.now_ms,
                ..start
            },
            events: Vec::new(),
            epoch,
            owner,
            ended_at_ms: None,
            over_since_ms: None,
            seen: 0,
        };
        self.sagas.insert(id, naive);
        Ok(())
    }

    fn append(
        &mut self,
        id: String,
        which: &[usize],
        epoch_off: i8,
        after_off: i8,
    ) -> Result<(), TestCaseError> {
        let known = self.sagas.get(&id);
        let recorded = known.map_or(0, |naive| naive.events.len() as u64);
        let epoch = known.map_or(1, |naive| naive.epoch);
        let epoch = epoch.saturating_add_signed(epoch_off.into());
        let after = recorded.saturating_add_signed(after_off.into());
        // Mostly events that may follow one another.
        let mut ahead = known.map(Naive::record);
        let mut events = Vec::new();
        for which in which {
            let all = events_of(known.map_or(1, |naive| naive.definition.steps().len()));
            let legal = |event: &&Event| {
                ahead
                    .as_ref()
                    .is_none_or(|record| record.check(event).is_ok())
            };
            let possible: Vec<_> = all.iter().filter(legal).collect();
            let event = match possible.is_empty() || *which == 11 {
                true => all[which % all.len()].clone(),
                false => possible[which % possible.len()].clone(),
            };
            if let Some(record) = &mut ahead {
                let _ = record.apply(&event);
            }
            events.push(event);
        }
        let answer = self.ledger.apply(
            self.now_ms,
            Command::Append {
                saga: id.clone(),
                epoch,
                after,
                events: events.clone(),
            },
        );
        let Some(naive) = self.sagas.get_mut(&id) else {
            let refused = matches!(answer, Answer::Refused(Refusal::UnknownSaga { .. }));
            prop_assert!(refused);
            return Ok(());
        };
        let mut record = naive.record();
        if epoch != naive.epoch || epoch == 0 {
            let over = epoch < naive.epoch;
            let fits = match &answer {
                Answer::Refused(Refusal::Owner(owner::Error::Over { .. })) => over,
                Answer::Refused(Refusal::Owner(owner::Error::NeverGiven { .. })) => !over,
                _ => false,
            };
            prop_assert!(fits, "{answer:?}");
        } else if events.is_empty() {
            prop_assert_eq!(answer, Answer::Refused(Refusal::NoEvents));
        } else if after != recorded {
            prop_assert_eq!(answer, Answer::Refused(Refusal::Stale { after, recorded }));
        } else if events.iter().any(|event| record.apply(event).is_err()) {
            prop_assert!(
                matches!(answer, Answer::Refused(Refusal::Illegal(_))),
                "{answer:?}"
            );
        } else {
            let sequence = record.sequence();
            prop_assert_eq!(answer, Answer::Appended { sequence });
            naive
                .events
                .extend(events.into_iter().map(|event| (event, true)));
            naive.seen = naive.events.len();
            // Whoever appends knows the saga.
            if let Some(owner) = naive.owner {
                let executor = self.executors.entry(owner).or_default();
                executor.knows.insert(id, (epoch, sequence));
            }
        }
        Ok(())
    }

    fn act(&mut self, id: String, act: Act, by: String) -> Result<(), TestCaseError> {
        let note = Note {
            by: by.clone(),
            reason: "because".to_owned(),
        };
        let event = Event::ByHand {
            act: act.clone(),
            note: note.clone(),
        };
        let answer = self.ledger.apply(
            self.now_ms,
            Command::Act {
                saga: id.clone(),
                act: act.clone(),
                note,
            },
        );
        if self.sagas.contains_key(&id) {
            return self.told(id, event, answer);
        }
        let undoes = id
            .rsplit_once('/')
            .and_then(|(whole, _)| self.sagas.get(whole));
        let undoes = undoes.is_some_and(|whole| {
            whole.definition.name() == "outer"
                && whole.record().steps()[0].state() == StepState::Calling(Phase::Undo)
        });
        if undoes && act == Act::Undo {
            prop_assert_eq!(
                answer,
                Answer::Acted {
                    sequence: 0,
                    owner: None
                }
            );
        } else {
            let refused = matches!(answer, Answer::Refused(Refusal::UnknownSaga { .. }));
            prop_assert!(refused);
        }
        Ok(())
    }

    /// What others record.
    fn told(&mut self, id: String, event: Event, answer: Answer) -> Result<(), TestCaseError> {
        let naive = self.sagas.get_mut(&id).unwrap();
        let unseen = naive.events.len() - naive.seen;
        let mut record = naive.record();
        let finished = record.is_finished();
        if naive.epoch > 0 && !finished && unseen >= 3 {
            let refused = matches!(
                answer,
                Answer::Refused(Refusal::TooManyActs { limit: 3, .. })
            );
            prop_assert!(refused, "{answer:?}");
        } else if record.apply(&event).is_err() {
            prop_assert!(
                matches!(answer, Answer::Refused(Refusal::Illegal(_))),
                "{answer:?}"
            );
        } else {
            let (sequence, owner) = (record.sequence(), naive.owner);
            prop_assert_eq!(answer, Answer::Acted { sequence, owner });
            if finished || naive.epoch == 0 {
                naive.seen = naive.events.len() + usize::from(naive.epoch == 0);
            }
            naive.events.push((event, false));
        }
        Ok(())
    }

    fn report(&mut self, id: String, phase: Phase, success: bool) -> Result<(), TestCaseError> {
        let outcome = match success {
            true => Reported::Success {
                output: Bytes::from_static(b"1"),
            },
            false => Reported::Failure {
                message: "no".to_owned(),
            },
        };
        let step = match self.sagas.get(&id) {
            Some(naive) => naive.definition.steps()[0].name.clone(),
            None => "a".to_owned(),
        };
        let saga = id.clone();
        let command = Command::Report {
            saga,
            step,
            phase,
            outcome,
        };
        let answer = self.ledger.apply(self.now_ms, command);
        let Some(naive) = self.sagas.get(&id) else {
            let refused = matches!(answer, Answer::Refused(Refusal::UnknownSaga { .. }));
            prop_assert!(refused);
            return Ok(());
        };
        let record = naive.record();
        if record.steps()[0].state() == StepState::Calling(phase) {
            let event = match (success, phase) {
                (true, _) => succeed(0, phase),
                (false, Phase::Action) => Event::Failed {
                    step: 0,
                    only_call: false,
                    message: "no".to_owned(),
                },
                (false, _) => Event::Stuck {
                    step: 0,
                    phase,
                    reason: crate::saga::event::Reason::Refused {
                        message: "no".to_owned(),
                    },
                },
            };
            return self.told(id, event, answer);
        }
        let alike = naive.events.iter().any(|(event, _)| match event {
            Event::Succeeded {
                step: 0, phase: of, ..
            } => success && *of == phase,
            Event::Failed { step: 0, .. } => !success && phase == Phase::Action,
            _ => false,
        });
        match &answer {
            Answer::Acted { sequence, .. } => {
                let stuck = record.steps()[0].state()
                    == StepState::Stuck {
                        phase,
                        refused: true,
                    };
                prop_assert!(alike || stuck && !success, "{record:?}");
                prop_assert_eq!(*sequence, record.sequence());
            }
            Answer::Refused(Refusal::NotCalled { .. }) => {
                prop_assert!(!alike || phase == Phase::Undo, "{:?}", naive.events);
            }
            other => prop_assert!(false, "{other:?}"),
        }
        Ok(())
    }

    fn own(&mut self, owner: OwnerId, take_max: u32, lost: bool) -> Result<(), TestCaseError> {
        self.alive.insert(owner, self.now_ms + LEASE_MS);
        let before = self.orphans();
        let heard = self.executors.entry(owner).or_default().heard;
        let command = Command::Own {
            owner,
            lease_ms: LEASE_MS,
            take_max,
            heard,
        };
        let answer = self.ledger.apply(self.now_ms, command);
        let Answer::Owned {
            until_ms,
            taken,
            acted_on,
            more,
            told,
        } = answer
        else {
            return Err(TestCaseError::fail(format!("{answer:?}")));
        };
        prop_assert_eq!(until_ms, self.now_ms + LEASE_MS);
        let mut count = 0;
        for held in &taken {
            let naive = self.sagas.get_mut(&held.saga).unwrap();
            if naive.owner == Some(owner) {
                prop_assert_eq!(held.epoch, naive.epoch);
                continue;
            }
            count += 1;
            prop_assert!(before.contains(&held.saga), "{} was owned", held.saga);
            naive.epoch += 1;
            naive.owner = Some(owner);
            naive.seen = naive.events.len();
            prop_assert_eq!(held.epoch, naive.epoch);
        }
        prop_assert!(count <= take_max as usize);
        let left = self.orphans();
        prop_assert_eq!(more, !left.is_empty());
        if taken.len() < take_max as usize {
            prop_assert!(left.is_empty(), "{left:?} could have been taken");
        }
        for saga in &acted_on {
            prop_assert_eq!(self.sagas[saga].owner, Some(owner));
        }
        if !lost {
            let executor = self.executors.entry(owner).or_default();
            executor.heard = told;
            for saga in taken.iter().map(|held| &held.saga).chain(&acted_on) {
                let naive = &self.sagas[saga];
                let known = (naive.epoch, naive.events.len() as u64);
                executor.knows.insert(saga.clone(), known);
            }
        }
        Ok(())
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

fn events_of(steps: usize) -> Vec<Event> {
    let mut all = vec![Event::Completed, Event::Undone, Event::Parked];
    for step in 0..StepIndex::try_from(steps).unwrap() {
        for phase in [Phase::Action, Phase::Undo] {
            all.push(begin(step, phase));
            all.push(succeed(step, phase));
        }
        all.push(Event::Failed {
            step,
            only_call: false,
            message: "no".to_owned(),
        });
        all.push(Event::UndoBegun {
            cause: UndoCause::Step(step),
        });
    }
    all
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
