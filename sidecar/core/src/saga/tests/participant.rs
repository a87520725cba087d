//! Participants whose database has a barrier.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::saga::{Call, ErrorClass, Outcome, Phase};

/// What a participant does the next time that it really has to do something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mood {
    Willing,
    Refusing,
    /// Does it, and the answer is lost.
    Mute,
    /// Does nothing, and says something else.
    Broken,
    Ongoing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Row {
    Done,
    Refused,
    /// Undone before it came.
    Fenced,
}

/// One participant: the step that it serves, and its barrier.
#[derive(Debug, Clone, Default)]
pub(super) struct Participant {
    pub(super) rows: BTreeMap<String, Row>,
    /// It has no barrier for refusals of its action: a call that comes later may succeed.
    pub(super) forgets_refusals: bool,
    /// It refuses for ever what must succeed.
    pub(super) stubborn: bool,
    /// How often the effect of the action is there.
    pub(super) effect: i64,
    pub(super) confirmed: i64,
}

impl Participant {
    pub(super) fn call(&mut self, call: &Call, mood: Mood) -> Outcome {
        let action = call.phase == Phase::Action;
        let mood = match self.stubborn && !action {
            true => Mood::Refusing,
            false => mood,
        };
        // Duplicates are decided first.
        match self.rows.get(&call.idempotency_key) {
            Some(Row::Done) => return answer(mood, success()),
            Some(Row::Refused | Row::Fenced) => return answer(mood, refusal()),
            None => {}
        }
        match mood {
            Mood::Broken => return unsettled(ErrorClass::Internal),
            Mood::Ongoing => return unsettled(ErrorClass::Ongoing),
            Mood::Refusing if action && self.forgets_refusals => return refusal(),
            Mood::Refusing => {
                self.rows.insert(call.idempotency_key.clone(), Row::Refused);
                return refusal();
            }
            Mood::Willing | Mood::Mute => {}
        }
        self.rows.insert(call.idempotency_key.clone(), Row::Done);
        match call.phase {
            Phase::Action => self.effect += 1,
            Phase::Confirm => self.confirmed += 1,
            Phase::Undo => {
                // First the row of the action: it fences an action that comes later.
                let action = call.idempotency_key.split("/undo").next().unwrap();
                let action = format!("{action}/action");
                if *self.rows.entry(action).or_insert(Row::Fenced) == Row::Done {
                    self.effect -= 1;
                }
            }
        }
        answer(mood, success())
    }
}

fn answer(mood: Mood, outcome: Outcome) -> Outcome {
    match mood {
        Mood::Mute => unsettled(ErrorClass::TimedOut),
        _ => outcome,
    }
}

fn success() -> Outcome {
    Outcome::Success {
        output: Bytes::from_static(br#"{"id": 1}"#),
    }
}

fn refusal() -> Outcome {
    Outcome::Failure {
        message: "out of stock".to_owned(),
    }
}

pub(super) fn unsettled(class: ErrorClass) -> Outcome {
    Outcome::Unsettled {
        class,
        message: "?".to_owned(),
        retry_after_ms: None,
    }
}
