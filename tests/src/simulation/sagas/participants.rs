//! Those whom sagas call: they have a barrier, and the network between is not to be trusted.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use outrigger::saga::{executor::Outgoing, participant::Call};
use outrigger_core::saga::{
    ErrorClass, Outcome, Phase,
    ledger::{Command, OwnerId, Reported},
};
use tokio::sync::oneshot;

use super::{
    wire::Called,
    witness::{RESULT, Witness},
};
use crate::simulation::scene::Scene;

/// How long a call or its answer is on its way.
const WAY_MS: std::ops::RangeInclusive<u64> = 0..=4;
/// How long a call takes that takes long, or that comes once more.
const LATE_MS: std::ops::RangeInclusive<u64> = 100..=2_500;
/// How long a participant that is asked with a message takes its time.
const LETTER_MS: std::ops::RangeInclusive<u64> = 1..=200;

/// What one step of one saga has brought about.
#[derive(Debug, Default)]
pub(super) struct Book {
    /// How often its effect is there.
    pub(super) effect: i64,
    pub(super) confirmed: i64,
    done: bool,
    undone: bool,
    /// The last attempt of its action that was refused.
    refused: Option<u32>,
}

/// What a participant does when it really has to do something.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mood {
    Willing,
    Refusing,
    /// Does it, and the answer is lost.
    Mute,
    /// Does nothing, and says something else.
    Broken,
    Ongoing,
}

/// What somebody is called for.
#[derive(Clone)]
struct Asked {
    saga: String,
    step: String,
    phase: Phase,
    attempt: u32,
    /// A delivery, and its key.
    result: Option<String>,
}

/// Who hears how it ended.
enum Answer {
    Caller(oneshot::Sender<Called>),
    /// Whoever owns the saga, with a report.
    Report,
    Nobody,
}

struct Flight {
    at_ms: u64,
    asked: Asked,
    answer: Answer,
}

struct Reply {
    at_ms: u64,
    outcome: Outcome,
    answer: oneshot::Sender<Called>,
}

/// What became of sending a message.
type Sent = Result<(), String>;

/// All participants, and the calls that are on their way to them and back.
#[derive(Default)]
pub(super) struct Participants {
    books: BTreeMap<(String, String), Book>,
    flights: Vec<Flight>,
    replies: Vec<Reply>,
    publications: Vec<(u64, Sent, oneshot::Sender<Sent>)>,
    /// Reports that are to be submitted.
    reports: Vec<(u64, Command)>,
    /// The keys of the results that have arrived.
    results: BTreeSet<String>,
    pub(super) calls: u64,
}

impl Participants {
    /// The book of a step, once it was called.
    pub(super) fn book(&self, saga: &str, step: &str) -> Option<&Book> {
        self.books.get(&(saga.to_owned(), step.to_owned()))
    }

    /// Whether the result of a saga has arrived somewhere.
    pub(super) fn has_result(&self, saga: &str, status: &str) -> bool {
        self.results.contains(&format!("{saga}/{RESULT}/{status}"))
    }

    /// Nothing is on its way.
    pub(super) fn is_idle(&self) -> bool {
        self.flights.is_empty() && self.replies.is_empty() && self.reports.is_empty()
    }

    /// A process calls somebody.
    pub(super) fn call(
        &mut self,
        scene: &mut Scene,
        call: &Call,
        answer: oneshot::Sender<Called>,
        cut_off: bool,
    ) {
        self.calls += 1;
        let asked = Asked {
            saga: call.saga.clone(),
            step: call.step.clone(),
            phase: call.phase,
            attempt: call.attempt,
            result: (call.step == RESULT).then(|| call.idempotency_key.clone()),
        };
        let now_ms = scene.now_ms();
        let percent = 2 * scene.lost_percent;
        if scene.chance(percent) {
            // The network repeats it, some time.
            let at_ms = now_ms + scene.pick(LATE_MS);
            let (asked, answer) = (asked.clone(), Answer::Nobody);
            self.flights.push(Flight {
                at_ms,
                asked,
                answer,
            });
        }
        if cut_off || scene.chance(percent) {
            // Nobody is reached, or nobody hears of it.
            let class = match scene.chance(50) {
                true => ErrorClass::Unreachable,
                false => ErrorClass::TimedOut,
            };
            let at_ms = now_ms + scene.pick(1..=call.timeout_ms.max(1));
            let outcome = unsettled(class);
            self.replies.push(Reply {
                at_ms,
                outcome,
                answer,
            });
            if class == ErrorClass::TimedOut && scene.chance(50) {
                let at_ms = now_ms + scene.pick(LATE_MS);
                let answer = Answer::Nobody;
                self.flights.push(Flight {
                    at_ms,
                    asked,
                    answer,
                });
            }
            return;
        }
        let at_ms = now_ms + scene.pick(WAY_MS);
        let answer = Answer::Caller(answer);
        self.flights.push(Flight {
            at_ms,
            asked,
            answer,
        });
    }

    /// A process sends a message: a call whose end is reported, or a result.
    pub(super) fn publish(
        &mut self,
        scene: &mut Scene,
        witness: &mut Witness,
        owner: OwnerId,
        message: &Outgoing,
        answer: oneshot::Sender<Result<(), String>>,
    ) {
        let property = |name: &str| {
            let found = message.properties.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| value.clone()).unwrap_or_default()
        };
        let saga = property("outrigger-saga-id");
        let phase = match property("outrigger-phase").as_str() {
            "undo" | "cancel" => Phase::Undo,
            "confirm" => Phase::Confirm,
            _ => Phase::Action,
        };
        let step = property("outrigger-step");
        let attempt = property("outrigger-attempt").parse().unwrap_or(0);
        let result = step
            .is_empty()
            .then(|| property("outrigger-idempotency-key"));
        match result {
            Some(_) => witness.delivers(owner, &saga),
            None => witness.calls(owner, &saga, &step, phase, attempt),
        }
        let now_ms = scene.now_ms();
        let percent = 2 * scene.lost_percent;
        // It may be sent all the same.
        let failed = scene.chance(percent);
        let sent = !failed || scene.chance(50);
        let told = match failed {
            true => Err("nobody answers".to_owned()),
            false => Ok(()),
        };
        self.publications
            .push((now_ms + scene.pick(WAY_MS), told, answer));
        if sent {
            let at_ms = now_ms + scene.pick(LETTER_MS);
            let asked = Asked {
                saga,
                step,
                phase,
                attempt,
                result,
            };
            let answer = Answer::Report;
            self.flights.push(Flight {
                at_ms,
                asked,
                answer,
            });
        }
    }

    /// One millisecond. Reports that are to be submitted now.
    pub(super) fn step(&mut self, scene: &mut Scene) -> Vec<Command> {
        let now_ms = scene.now_ms();
        for flight in take_due(&mut self.flights, |flight| flight.at_ms <= now_ms) {
            self.arrive(scene, flight);
        }
        for reply in take_due(&mut self.replies, |reply| reply.at_ms <= now_ms) {
            // Whoever has called may be gone.
            let _ = reply.answer.send(Ok(reply.outcome));
        }
        for (_, told, answer) in take_due(&mut self.publications, |(at_ms, ..)| *at_ms <= now_ms) {
            let _ = answer.send(told);
        }
        let reports = take_due(&mut self.reports, |(at_ms, _)| *at_ms <= now_ms);
        reports.into_iter().map(|(_, report)| report).collect()
    }

    /// A report has come to nothing, and is submitted once more.
    pub(super) fn report_again(&mut self, scene: &mut Scene, report: Command) {
        let at_ms = scene.now_ms() + scene.pick(LETTER_MS);
        self.reports.push((at_ms, report));
    }

    fn arrive(&mut self, scene: &mut Scene, flight: Flight) {
        let Flight { asked, answer, .. } = flight;
        let now_ms = scene.now_ms();
        if let Some(key) = asked.result {
            self.results.insert(key);
            if let Answer::Caller(answer) = answer {
                let at_ms = now_ms + scene.pick(WAY_MS);
                let outcome = success();
                self.replies.push(Reply {
                    at_ms,
                    outcome,
                    answer,
                });
            }
            return;
        }
        let mood = mood(scene, &asked);
        let key = (asked.saga.clone(), asked.step.clone());
        let book = self.books.entry(key).or_default();
        let outcome = book.take(&asked, mood);
        let Asked {
            saga,
            step,
            phase,
            attempt,
            ..
        } = asked;
        scene.world.trace().note(format_args!(
            "{saga} {step} {phase:?} attempt {attempt}: {outcome:?} {book:?}"
        ));
        let at_ms = now_ms + scene.pick(WAY_MS);
        match answer {
            Answer::Nobody => {}
            Answer::Caller(answer) => self.replies.push(Reply {
                at_ms,
                outcome,
                answer,
            }),
            Answer::Report => {
                let outcome = match outcome {
                    Outcome::Success { output } => Reported::Success { output },
                    Outcome::Failure { message } => Reported::Failure { message },
                    // It is sent again when nobody reports anything.
                    Outcome::Unsettled { .. } => return,
                };
                let report = Command::Report {
                    saga,
                    step,
                    phase,
                    outcome,
                };
                self.reports.push((at_ms, report));
            }
        }
    }
}

impl Book {
    /// What the barrier of the SDK does.
    fn take(&mut self, asked: &Asked, mood: Mood) -> Outcome {
        let repeated = match asked.phase {
            Phase::Action if self.undone => return refusal("it was undone before"),
            Phase::Action if self.refused.is_some_and(|upto| asked.attempt <= upto) => {
                return refusal("out of stock");
            }
            Phase::Action => self.done,
            Phase::Undo => self.undone,
            Phase::Confirm => self.confirmed > 0,
        };
        if repeated {
            return answered(mood);
        }
        match mood {
            Mood::Broken => return unsettled(ErrorClass::Internal),
            Mood::Ongoing => return unsettled(ErrorClass::Ongoing),
            Mood::Refusing => {
                if asked.phase == Phase::Action {
                    self.refused = Some(asked.attempt);
                }
                return refusal("out of stock");
            }
            Mood::Willing | Mood::Mute => {}
        }
        match asked.phase {
            Phase::Action => {
                self.done = true;
                self.effect += 1;
            }
            Phase::Undo => {
                self.undone = true;
                self.effect -= i64::from(self.done);
            }
            Phase::Confirm if self.done && !self.undone => self.confirmed += 1,
            Phase::Confirm => return refusal("there is nothing to confirm"),
        }
        answered(mood)
    }
}

fn mood(scene: &mut Scene, asked: &Asked) -> Mood {
    if scene.finishing {
        return Mood::Willing;
    }
    let refusals = match asked.phase {
        Phase::Action => 5,
        // They have to succeed in the end, with the help of a person.
        Phase::Undo | Phase::Confirm => 1,
    };
    let percent = scene.pick(0..=99);
    match percent {
        0..=5 => Mood::Mute,
        6..=10 => Mood::Broken,
        11..=13 => Mood::Ongoing,
        _ if percent >= 100 - refusals => Mood::Refusing,
        _ => Mood::Willing,
    }
}

fn take_due<T>(of: &mut Vec<T>, is_due: impl FnMut(&T) -> bool) -> Vec<T> {
    let (due, later) = std::mem::take(of).into_iter().partition(is_due);
    *of = later;
    due
}

fn answered(mood: Mood) -> Outcome {
    match mood {
        Mood::Mute => unsettled(ErrorClass::TimedOut),
        Mood::Willing | Mood::Refusing | Mood::Broken | Mood::Ongoing => success(),
    }
}

fn success() -> Outcome {
    Outcome::Success {
        output: Bytes::from_static(br#"{"id":1}"#),
    }
}

fn refusal(message: &str) -> Outcome {
    Outcome::Failure {
        message: message.to_owned(),
    }
}

fn unsettled(class: ErrorClass) -> Outcome {
    Outcome::Unsettled {
        class,
        message: "?".to_owned(),
        retry_after_ms: None,
    }
}
