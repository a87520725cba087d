use bytes::Bytes;
use outrigger_log::{Command, NewMessage, Outcome, TransactionId, Verdict, command::Refusal};

use super::Client;
use crate::{
    checker::{self, Decision, Resolve},
    simulation::{
        call::{Answer, Call},
        scene::{Scene, content, fingerprint},
    },
};

/// Prepares and resolves transactions, one after the other. What it gives up is resolved in
/// the end, as check-back would.
pub(in crate::simulation) struct Transactor {
    number: u64,
    begun: u64,
    current: Option<Attempt>,
    given_up: Vec<Attempt>,
    call: Option<Call>,
    rest_until_ms: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Prepare,
    Resolve,
    Contradict,
}

struct Attempt {
    id: TransactionId,
    step: Step,
    prepare: Command,
    replacements: Vec<(u32, Bytes)>,
    verdict: Verdict,
    /// Where its record is in the history.
    record: usize,
}

impl Transactor {
    pub(in crate::simulation) fn new(number: u64) -> Self {
        Self {
            number,
            begun: 0,
            current: None,
            given_up: Vec::new(),
            call: None,
            rest_until_ms: 0,
        }
    }

    fn begin(&mut self, scene: &mut Scene) -> Attempt {
        self.begun += 1;
        let id = TransactionId(u128::from(self.number) << 64 | u128::from(self.begun));
        let mut messages = Vec::new();
        let mut records = Vec::new();
        let mut replacements = Vec::new();
        let topics = scene.topics.clone();
        for place in 0..scene.pick(1..=3) as u32 {
            let Some(topic) = scene.any(&topics) else {
                break;
            };
            let name = format!("t{}-{}-{place}", self.number, self.begun);
            let filling = scene.pick(0..=150);
            let bytes = Bytes::from(content(&name, filling));
            let from_fence = scene.chance(25);
            records.push(checker::TransactionMessage {
                id: name.clone(),
                topic: topic.name.to_owned(),
                fingerprint: fingerprint(&bytes),
            });
            let stored = match from_fence {
                true => {
                    replacements.push((place, bytes));
                    Bytes::from(format!("{name}|?"))
                }
                false => bytes,
            };
            messages.push(NewMessage {
                destination: topic.id.into(),
                key_hash: scene.pick(0..=3),
                tag_hash: 0,
                deliver_at_ms: 0,
                from_fence,
                stored,
            });
        }
        let (decision, verdict) = match scene.chance(70) {
            true => (Decision::Commit, Verdict::Commit),
            false => (Decision::Rollback, Verdict::Rollback),
        };
        scene.history.transactions.push(checker::Transaction {
            id: id.to_string(),
            messages: records,
            decision,
            prepared: checker::Outcome::Unknown,
            resolved: Resolve::Unknown,
        });
        if verdict == Verdict::Rollback {
            replacements.clear();
        }
        Attempt {
            id,
            step: Step::Prepare,
            prepare: Command::Prepare {
                id,
                producer_group: "shop".to_owned(),
                fingerprint: u128::from(self.begun),
                messages,
            },
            replacements,
            verdict,
            record: scene.history.transactions.len() - 1,
        }
    }

    fn answered(&mut self, scene: &mut Scene, answer: Answer) {
        let Some(mut attempt) = self.current.take() else {
            return;
        };
        match answer {
            Answer::Outcomes(outcomes) => {
                let done = attempt.told(scene, outcomes.first());
                if !done {
                    self.current = Some(attempt);
                }
            }
            Answer::Durable => {
                if !attempt.was_durable(scene) {
                    self.current = Some(attempt);
                }
            }
            Answer::Unknown if !scene.finishing && scene.chance(15) => {
                attempt.step = Step::Resolve;
                self.given_up.push(attempt);
            }
            Answer::Refused | Answer::Unknown => self.current = Some(attempt),
        }
    }
}

impl Attempt {
    fn command(&self) -> Command {
        let opposite = match self.verdict {
            Verdict::Commit => Verdict::Rollback,
            Verdict::Rollback => Verdict::Commit,
        };
        match self.step {
            Step::Prepare => self.prepare.clone(),
            Step::Resolve => Command::Resolve {
                id: self.id,
                verdict: self.verdict,
                replacements: self.replacements.clone(),
            },
            Step::Contradict => Command::Resolve {
                id: self.id,
                verdict: opposite,
                replacements: Vec::new(),
            },
        }
    }

    /// True when there is nothing more to do.
    fn told(&mut self, scene: &mut Scene, outcome: Option<&Outcome>) -> bool {
        match (self.step, outcome) {
            (Step::Prepare, Some(Outcome::Prepared { .. })) => {
                self.record(scene, |record| {
                    record.prepared = checker::Outcome::Acknowledged(None);
                });
                self.step = Step::Resolve;
                false
            }
            (Step::Resolve, Some(Outcome::Resolved { .. })) => {
                self.record(scene, |record| record.resolved = Resolve::Acknowledged);
                self.step = Step::Contradict;
                !scene.chance(20)
            }
            (Step::Resolve, Some(Outcome::Refused(Refusal::TransactionNotFound(_)))) => {
                if self.is_prepared(scene) {
                    scene.problem(format!("{}: its Prepare is lost", self.id));
                }
                true
            }
            (
                Step::Contradict,
                Some(Outcome::Refused(Refusal::TransactionContradiction { recorded, .. })),
            ) if *recorded == self.verdict => true,
            (_, Some(Outcome::Refused(Refusal::TransactionContradiction { .. }))) => {
                self.record(scene, |record| record.resolved = Resolve::Contradicted);
                true
            }
            (_, other) => {
                scene.problem(format!("transaction {} was answered {other:?}", self.id));
                true
            }
        }
    }

    /// The same, when all that is said is that it is durable.
    fn was_durable(&mut self, scene: &mut Scene) -> bool {
        match self.step {
            Step::Prepare => {
                self.record(scene, |record| {
                    record.prepared = checker::Outcome::Acknowledged(None);
                });
                self.step = Step::Resolve;
                false
            }
            Step::Resolve => {
                self.record(scene, |record| record.resolved = Resolve::Acknowledged);
                true
            }
            Step::Contradict => true,
        }
    }

    fn is_prepared(&self, scene: &Scene) -> bool {
        let record = scene.history.transactions.get(self.record);
        record.is_some_and(|record| matches!(record.prepared, checker::Outcome::Acknowledged(_)))
    }

    fn record(&self, scene: &mut Scene, change: impl FnOnce(&mut checker::Transaction)) {
        if let Some(record) = scene.history.transactions.get_mut(self.record) {
            change(record);
        }
    }
}

impl Client for Transactor {
    fn step(&mut self, scene: &mut Scene) {
        if let Some(call) = &mut self.call {
            if let Some(answer) = call.step(scene) {
                self.call = None;
                self.answered(scene, answer);
                self.rest_until_ms = scene.now_ms() + scene.pick(1..=60);
            }
            return;
        }
        if self.rest_until_ms > scene.now_ms() {
            return;
        }
        if self.current.is_none() {
            self.current = match scene.finishing {
                true => self.given_up.pop(),
                false => Some(self.begin(scene)),
            };
        }
        if let Some(attempt) = &self.current {
            let command = attempt.command();
            self.call = Some(Call::new(scene, vec![command]));
        }
    }

    fn is_done(&self, _scene: &Scene) -> bool {
        self.current.is_none() && self.call.is_none() && self.given_up.is_empty()
    }

    fn describe(&self) -> String {
        format!(
            "transactor {} with {} left",
            self.number,
            self.given_up.len()
        )
    }
}
