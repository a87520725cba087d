//! Those who start sagas and wait for them, and those who act on them by hand.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use outrigger::saga::{
    executor::{Failed, Started, Waited},
    store::Why,
};
use outrigger_core::saga::{
    Definition,
    event::{Act, Note, Start},
    ledger::{Answer, Command},
    record::Status,
};
use outrigger_log::simulation::poll_now;
use tokio::{sync::oneshot, time::Instant};

use super::owner::Owner;
use crate::simulation::scene::Scene;

/// Sagas that more than one application starts.
const SHARED: u64 = 4;
/// How often an application tries to start one.
const TRIES_MAX: u32 = 4;

/// What people were told about one saga.
#[derive(Default)]
pub(super) struct Told {
    /// It is there.
    pub(super) acknowledged: bool,
    /// It was not there before.
    pub(super) created: bool,
    /// It has ended so.
    pub(super) ended: Option<Status>,
}

/// What people were told about all sagas that anybody tried to start.
pub(super) type Register = BTreeMap<String, Told>;

/// An answer that is awaited, once it is there; nothing inside when it will never be.
fn heard<T>(answer: &mut oneshot::Receiver<T>) -> Option<Option<T>> {
    poll_now(answer).map(Result::ok)
}

enum Doing {
    Starting(oneshot::Receiver<Result<Started, Failed>>),
    Waiting(oneshot::Receiver<Result<Waited, Failed>>),
}

struct Job {
    definition: Arc<Definition>,
    start: Start,
    doing: Option<Doing>,
    tries: u32,
    acknowledged: bool,
}

/// Starts sagas, one after the other, and waits for some of them.
pub(super) struct Application {
    number: u64,
    begun: u64,
    job: Option<Job>,
    rest_until_ms: u64,
}

impl Application {
    pub(super) fn new(number: u64) -> Self {
        Self {
            number,
            begun: 0,
            job: None,
            rest_until_ms: 0,
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.job.is_none()
    }

    pub(super) fn step(
        &mut self,
        scene: &mut Scene,
        owners: &[Owner],
        definitions: &[Arc<Definition>],
        register: &mut Register,
    ) {
        let Some(job) = &mut self.job else {
            if !scene.finishing && self.rest_until_ms <= scene.now_ms() {
                self.begin(scene, definitions, register);
            }
            return;
        };
        let goes_on = match &mut job.doing {
            None if self.rest_until_ms > scene.now_ms() => return,
            None => job.go_on(scene, owners),
            Some(Doing::Starting(answer)) => match heard(answer) {
                None => return,
                Some(answer) => job.started(scene, register, answer),
            },
            Some(Doing::Waiting(answer)) => match heard(answer) {
                None => return,
                Some(answer) => {
                    waited(scene, register, &job.start.saga, answer);
                    false
                }
            },
        };
        self.rest_until_ms = scene.now_ms() + scene.pick(5..=120);
        if !goes_on {
            self.job = None;
        }
    }

    fn begin(
        &mut self,
        scene: &mut Scene,
        definitions: &[Arc<Definition>],
        register: &mut Register,
    ) {
        self.begun += 1;
        let (saga, which) = match scene.chance(15) {
            true => {
                let which = scene.pick(1..=SHARED);
                (format!("shared-{which}"), which as usize)
            }
            false => {
                let which = scene.pick(0..=definitions.len() as u64) as usize;
                (format!("saga-{}-{}", self.number, self.begun), which)
            }
        };
        let Some(definition) = definitions.get(which % definitions.len().max(1)) else {
            return;
        };
        let later = scene.chance(10) && !saga.starts_with("shared");
        let start_at_ms = match later {
            true => scene.wall_ms() + scene.pick(100..=600),
            false => 0,
        };
        register.entry(saga.clone()).or_default();
        self.job = Some(Job {
            start: Start {
                saga,
                definition: definition.name().to_owned(),
                version: definition.version(),
                input: Bytes::from_static(br#"{"order":17}"#),
                start_at_ms,
                deadline_at_ms: None,
                parent: None,
            },
            definition: Arc::clone(definition),
            doing: None,
            tries: 0,
            acknowledged: false,
        });
    }
}

impl Job {
    /// False when there is nothing more to do.
    fn go_on(&mut self, scene: &mut Scene, owners: &[Owner]) -> bool {
        let Some(owner) = any_running(scene, owners) else {
            return true;
        };
        if self.acknowledged {
            let saga = self.start.saga.clone();
            let limit = Duration::from_millis(scene.pick(50..=3_000));
            let waiting =
                owner.ask(|handle| async move { handle.wait(&saga, Instant::now() + limit).await });
            self.doing = waiting.map(Doing::Waiting);
            return true;
        }
        self.tries += 1;
        if self.tries > TRIES_MAX {
            return false;
        }
        let (definition, start) = (Arc::clone(&self.definition), self.start.clone());
        let starting = owner.ask(|handle| async move { handle.start(definition, start).await });
        self.doing = starting.map(Doing::Starting);
        true
    }

    fn started(
        &mut self,
        scene: &mut Scene,
        register: &mut Register,
        answer: Option<Result<Started, Failed>>,
    ) -> bool {
        self.doing = None;
        let saga = &self.start.saga;
        match answer {
            Some(Ok(Started { created })) => {
                scene
                    .world
                    .trace()
                    .note(format_args!("{saga} is started, created {created}"));
                let told = register.entry(saga.clone()).or_default();
                if created && told.created {
                    scene.problem(format!("saga {saga} was created twice"));
                }
                told.acknowledged = true;
                told.created |= created;
                self.acknowledged = true;
                scene.chance(60)
            }
            Some(Err(Failed::Refused(refused))) => {
                scene.problem(format!("saga {saga} could not be started: {refused}"));
                false
            }
            // Nobody knows; some do not want to know.
            Some(Err(Failed::Unavailable(_))) | None => scene.chance(70),
        }
    }
}

fn waited(
    scene: &mut Scene,
    register: &mut Register,
    saga: &str,
    answer: Option<Result<Waited, Failed>>,
) {
    match answer {
        Some(Ok(Waited::Settled(record))) => {
            let status = record.status();
            scene
                .world
                .trace()
                .note(format_args!("{saga} is said to be {status:?}"));
            if !matches!(status, Status::Completed | Status::Undone) {
                return;
            }
            let told = register.entry(saga.to_owned()).or_default();
            let before = told.ended.replace(status);
            if before.is_some_and(|before| before != status) {
                scene.problem(format!(
                    "saga {saga} was said to be {before:?} and {status:?}"
                ));
            }
        }
        Some(Ok(Waited::NotFound)) => {
            scene.problem(format!("saga {saga} was acknowledged, and is not found"));
        }
        Some(Ok(Waited::TimeOver) | Err(_)) | None => {}
    }
}

fn any_running<'a>(scene: &mut Scene, owners: &'a [Owner]) -> Option<&'a Owner> {
    let running: Vec<usize> = owners
        .iter()
        .enumerate()
        .filter(|(_, owner)| owner.is_running())
        .map(|(at, _)| at)
        .collect();
    owners.get(scene.any(&running)?)
}

/// Something that is done by hand.
struct Deed {
    saga: String,
    /// The saga was acknowledged before.
    acknowledged: bool,
    answer: oneshot::Receiver<Result<Answer, Failed>>,
}

/// Does things by hand.
pub(super) struct Person {
    doing: Option<Deed>,
    rest_until_ms: u64,
    pause_max_ms: u64,
    pub(super) acts: u64,
}

impl Person {
    pub(super) fn new(scene: &mut Scene) -> Self {
        Self {
            doing: None,
            rest_until_ms: 0,
            pause_max_ms: scene.pick(60..=800),
            acts: 0,
        }
    }

    pub(super) fn step(&mut self, scene: &mut Scene, owners: &[Owner], register: &Register) {
        if let Some(deed) = &mut self.doing {
            let Some(answer) = heard(&mut deed.answer) else {
                return;
            };
            let Deed {
                saga, acknowledged, ..
            } = deed;
            match answer {
                Some(Ok(_)) => self.acts += 1,
                Some(Err(Failed::Refused(refused)))
                    if refused.why == Why::SagaNotFound && *acknowledged =>
                {
                    scene.problem(format!("saga {saga} was acknowledged: {refused}"));
                }
                // Not as the saga is now.
                Some(Err(_)) | None => {}
            }
            self.doing = None;
        }
        if scene.finishing || self.rest_until_ms > scene.now_ms() {
            return;
        }
        self.rest_until_ms = scene.now_ms() + scene.pick(20..=self.pause_max_ms);
        let sagas: Vec<String> = register.keys().cloned().collect();
        let (Some(saga), Some(owner)) = (scene.any(&sagas), any_running(scene, owners)) else {
            return;
        };
        let saga = match scene.pick(0..=9) {
            0 => format!("{saga}/buy"),
            1 => format!("{saga}/near"),
            _ => saga,
        };
        let act = match scene.pick(0..=9) {
            0 | 1 => Act::Undo,
            2..=4 => Act::Park,
            5..=7 => Act::Resume,
            _ => Act::Retry {
                step: scene.pick(0..=2) as u16,
            },
        };
        let command = Command::Act {
            saga: saga.clone(),
            act,
            note: note(),
        };
        let answer = owner.ask(|handle| async move { handle.act(command).await });
        let told = register.get(&saga);
        let acknowledged = told.is_some_and(|told| told.acknowledged);
        self.doing = answer.map(|answer| Deed {
            saga,
            acknowledged,
            answer,
        });
    }

    pub(super) fn is_done(&self) -> bool {
        self.doing.is_none()
    }
}

pub(super) fn note() -> Note {
    Note {
        by: "anna".to_owned(),
        reason: "looked into it".to_owned(),
    }
}
