//! What is tried, and what is to be answered.

use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::{LEASE_MS, Naive, World, succeed, tries::events_of};
use crate::saga::{
    Phase,
    event::{Act, Event, Note, Reason, Start},
    ledger::{Answer, Command, OwnerId, Refusal, Reported},
    owner,
    record::StepState,
};

impl World {
    pub(super) fn start(
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

    pub(super) fn append(
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

    pub(super) fn act(&mut self, id: String, act: Act, by: String) -> Result<(), TestCaseError> {
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

    pub(super) fn report(
        &mut self,
        id: String,
        phase: Phase,
        success: bool,
    ) -> Result<(), TestCaseError> {
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
                    reason: Reason::Refused {
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

    pub(super) fn own(
        &mut self,
        owner: OwnerId,
        take_max: u32,
        lost: bool,
    ) -> Result<(), TestCaseError> {
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
}
