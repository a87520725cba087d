use bytes::Bytes;
use outrigger_log::{Command, NewMessage, Outcome, ProducerSequence};

use super::Client;
use crate::{
    checker::{self, Order},
    simulation::{
        call::{Answer, Call},
        scene::{KnownTopic, Scene, content, fingerprint},
    },
};

/// The longest that a delayed message waits.
const DELAY_MS_MAX: u64 = 1_500;

/// Sends batches of messages, each until it is acknowledged, or gives up and begins anew.
pub(in crate::simulation) struct Producer {
    number: u64,
    epoch: u32,
    next_sequence: u64,
    sent: u64,
    /// Without sequence numbers it cannot try again.
    numbered: bool,
    batch: Vec<Draft>,
    call: Option<Call>,
    rest_until_ms: u64,
}

struct Draft {
    command: Command,
    /// Where its record is in the history.
    record: usize,
    topic: KnownTopic,
}

impl Producer {
    pub(in crate::simulation) fn new(number: u64, numbered: bool) -> Self {
        Self {
            number,
            epoch: 1,
            next_sequence: 1,
            sent: 0,
            numbered,
            batch: Vec::new(),
            call: None,
            rest_until_ms: 0,
        }
    }

    fn draft(&mut self, scene: &mut Scene) {
        for _ in 0..scene.pick(1..=5) {
            let topics = scene.topics.clone();
            let Some(topic) = scene.any(&topics) else {
                return;
            };
            self.sent += 1;
            let id = format!("p{}-{}", self.number, self.sent);
            let filling = scene.pick(0..=200);
            let bytes = content(&id, filling);
            let key = scene.pick(0..=3);
            let deliver_at_ms = match scene.chance(8) {
                true => scene.wall_ms() + scene.pick(1..=DELAY_MS_MAX),
                false => 0,
            };
            let ordered = key > 0 && deliver_at_ms == 0 && self.numbered;
            let order = ordered.then(|| Order {
                producer: format!("{}/{}", self.number, self.epoch),
                key: key.to_string(),
                sequence: self.sent,
            });
            scene.history.sends.push(checker::Send {
                id,
                topic: topic.name.to_owned(),
                fingerprint: fingerprint(&bytes),
                order,
                outcome: checker::Outcome::Unknown,
            });
            let sequence = self.numbered.then(|| {
                let sequence = self.next_sequence;
                self.next_sequence += 1;
                ProducerSequence::dense(u128::from(self.number), self.epoch, sequence)
            });
            let message = NewMessage {
                destination: topic.id.into(),
                key_hash: key,
                tag_hash: 0,
                deliver_at_ms,
                from_fence: false,
                stored: Bytes::from(bytes),
            };
            self.batch.push(Draft {
                command: Command::Send { message, sequence },
                record: scene.history.sends.len() - 1,
                topic,
            });
        }
    }

    fn answered(&mut self, scene: &mut Scene, answer: Answer) {
        match answer {
            Answer::Outcomes(outcomes) => {
                let batch = std::mem::take(&mut self.batch);
                if outcomes.len() != batch.len() {
                    scene.problem(format!(
                        "{} outcomes of {} sends",
                        outcomes.len(),
                        batch.len()
                    ));
                }
                for (draft, outcome) in batch.iter().zip(outcomes) {
                    self.told(scene, draft, &outcome);
                }
            }
            Answer::Durable => {
                for draft in std::mem::take(&mut self.batch) {
                    record(scene, &draft, checker::Outcome::Acknowledged(None));
                }
            }
            Answer::Refused if !self.numbered => {
                for draft in std::mem::take(&mut self.batch) {
                    record(scene, &draft, checker::Outcome::Refused);
                }
            }
            Answer::Unknown if !self.numbered => self.batch.clear(),
            Answer::Unknown if !scene.finishing && scene.chance(5) => {
                // It dies, and its successor does not know of the batch.
                self.batch.clear();
                self.epoch += 1;
                self.next_sequence = 1;
            }
            Answer::Refused | Answer::Unknown => {}
        }
    }

    fn told(&self, scene: &mut Scene, draft: &Draft, outcome: &Outcome) {
        let outcome = match outcome {
            Outcome::Sent { queue, offset } => {
                scene.tell(draft.topic.id, *queue, *offset);
                checker::Outcome::Acknowledged(Some((*queue, *offset)))
            }
            Outcome::Duplicate | Outcome::Scheduled => checker::Outcome::Acknowledged(None),
            other => {
                let id = scene
                    .history
                    .sends
                    .get(draft.record)
                    .map(|send| send.id.clone());
                return scene.problem(format!("{id:?} was answered {other:?}"));
            }
        };
        record(scene, draft, outcome);
    }
}

fn record(scene: &mut Scene, draft: &Draft, outcome: checker::Outcome) {
    if let Some(send) = scene.history.sends.get_mut(draft.record) {
        send.outcome = outcome;
    }
}

impl Client for Producer {
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
        if self.batch.is_empty() && !scene.finishing {
            self.draft(scene);
        }
        if !self.batch.is_empty() {
            let commands = self.batch.iter().map(|draft| draft.command.clone());
            self.call = Some(Call::new(scene, commands.collect()));
        }
    }

    fn is_done(&self, _scene: &Scene) -> bool {
        self.batch.is_empty() && self.call.is_none()
    }

    fn describe(&self) -> String {
        format!("producer {} with {} unsent", self.number, self.batch.len())
    }
}
