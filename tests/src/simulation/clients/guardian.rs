use bytes::Bytes;
use outrigger_core::guard::{self, Input, Mode};
use outrigger_log::{Command, Outcome};

use super::Client;
use crate::simulation::{
    call::{Answer, Call},
    scene::Scene,
};

/// Keys that the guardians quarrel about.
const KEYS: u64 = 12;
const LEASE_MS: u64 = 400;
/// Longer than any run.
const TTL_MS: u64 = 3_600_000;

/// Takes guards and completes them: the first result of a key is that of all.
pub(in crate::simulation) struct Guardian {
    number: u64,
    begun: u64,
    current: Option<Attempt>,
    call: Option<Call>,
    rest_until_ms: u64,
}

struct Attempt {
    key: String,
    token: String,
    holds: bool,
    tries: u32,
    begun_at_ms: u64,
}

impl Guardian {
    pub(in crate::simulation) fn new(number: u64) -> Self {
        Self {
            number,
            begun: 0,
            current: None,
            call: None,
            rest_until_ms: 0,
        }
    }

    fn begin(&mut self, scene: &mut Scene) -> Attempt {
        self.begun += 1;
        Attempt {
            key: format!("key-{}", scene.pick(1..=KEYS)),
            token: format!("{}-{}", self.number, self.begun),
            holds: false,
            tries: 0,
            begun_at_ms: scene.now_ms(),
        }
    }
}

impl Attempt {
    fn command(&self) -> Command {
        let token = self.token.clone();
        let input = match self.holds {
            false => Input::Acquire {
                mode: Mode::Record,
                token,
                fingerprint: Bytes::new(),
                lease_ms: LEASE_MS,
            },
            true => Input::Complete {
                token,
                result: Bytes::from(self.token.clone()),
                ttl_ms: TTL_MS,
            },
        };
        Command::Guard {
            scope: "stock".to_owned(),
            key: Bytes::from(self.key.clone()),
            input,
        }
    }

    /// True when there is nothing more to do.
    fn told(&mut self, scene: &mut Scene, outcome: Option<&Outcome>) -> bool {
        let Some(Outcome::Guard(outcome)) = outcome else {
            scene.problem(format!("guard {} was answered {outcome:?}", self.key));
            return true;
        };
        let completed = scene.completed.get(&self.key).cloned();
        let before = completed.filter(|(at_ms, _)| *at_ms < self.begun_at_ms);
        match outcome {
            guard::Outcome::Done { result } => {
                let result = String::from_utf8_lossy(result).into_owned();
                if before.is_some_and(|(_, known)| known != result) {
                    scene.problem(format!("guard {} has another result: {result}", self.key));
                }
                true
            }
            guard::Outcome::Acquired { .. } if before.is_some() => {
                scene.problem(format!("guard {} is given out after it was done", self.key));
                true
            }
            guard::Outcome::Acquired { .. } => {
                self.holds = true;
                false
            }
            guard::Outcome::Held => {
                let done = (scene.now_ms(), self.token.clone());
                if let Some((_, known)) = scene.completed.insert(self.key.clone(), done)
                    && known != self.token
                {
                    scene.problem(format!("guard {} was completed twice", self.key));
                }
                true
            }
            // The repetition of a Complete meets its own result as a lost guard.
            guard::Outcome::Lost | guard::Outcome::Busy { .. } => true,
            guard::Outcome::Mismatch | guard::Outcome::Count(_) => {
                scene.problem(format!("guard {} was answered {outcome:?}", self.key));
                true
            }
        }
    }
}

impl Client for Guardian {
    fn step(&mut self, scene: &mut Scene) {
        if let Some(call) = &mut self.call {
            if let Some(answer) = call.step(scene) {
                self.call = None;
                self.rest_until_ms = scene.now_ms() + scene.pick(1..=200);
                let Some(mut attempt) = self.current.take() else {
                    return;
                };
                let done = match answer {
                    Answer::Outcomes(outcomes) => attempt.told(scene, outcomes.first()),
                    Answer::Durable => true,
                    Answer::Refused | Answer::Unknown => {
                        attempt.tries += 1;
                        attempt.tries > 4
                    }
                };
                self.current = (!done).then_some(attempt);
            }
            return;
        }
        if self.rest_until_ms > scene.now_ms() {
            return;
        }
        if self.current.is_none() && !scene.finishing {
            self.current = Some(self.begin(scene));
        }
        if let Some(attempt) = &self.current {
            let command = attempt.command();
            self.call = Some(Call::new(scene, vec![command]));
        }
    }

    fn is_done(&self, _scene: &Scene) -> bool {
        self.current.is_none() && self.call.is_none()
    }

    fn describe(&self) -> String {
        format!("guardian {}", self.number)
    }
}
