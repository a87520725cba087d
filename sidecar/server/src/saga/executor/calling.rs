//! Calls: where they go, whether they may go now, and how they ended.

use std::time::Duration;

use outrigger_core::saga::{self, ErrorClass, Input, Outcome, Record};
use tokio::time::{Instant, timeout};

use super::{
    Executor, Outgoing, child,
    executor::{Called, Done},
    lanes::LaneKey,
    sagas::{Hold, State},
    targets::Place,
};
use crate::saga::participant::{self, Endpoint, NotTried};

/// How much longer than its own time a call may take until somebody says how it ended. The
/// machine waits somewhat longer.
const CALL_GRACE_MS: u64 = 4_000;
/// How long sending a message may take.
const PUBLISH_MS_MAX: u64 = 10_000;

impl Executor {
    /// Makes a call, or answers what the machine is told instead.
    pub(super) fn call(&mut self, hold: Hold, call: saga::Call, now_ms: u64) -> Option<Input> {
        let held = self.sagas.get(hold)?;
        let (group, in_doubt) = (held.group, held.is_in_doubt);
        let record = held.awake()?.saga.record();
        let targets = self.targets.of(record.definition());
        let called = Called {
            step: call.step,
            phase: call.phase,
            attempt: call.attempt,
        };
        match targets.of(call.step, call.phase)? {
            Place::Participant(endpoint, lane) => {
                let made = participant::Call::new(record, call, endpoint.clone());
                if in_doubt || !self.may_go(group, lane, endpoint, now_ms) {
                    self.wait_in_lane(hold, lane);
                    return Some(called.kept_back());
                }
                self.lanes.begin(lane);
                self.make(hold, called, lane.clone(), made);
            }
            _ if in_doubt || self.drain.is_some() => return Some(called.kept_back()),
            Place::Message { topic, tag } => {
                let message = message(record, &call, topic, tag);
                self.send(hold, called, message);
            }
            Place::Saga {
                definition,
                version,
            } => {
                let child = child::Child::of(record, &call, definition, *version);
                let (handle, store) = (self.handle.clone(), self.store.clone());
                self.tasks.spawn(async move {
                    let outcome = Some(Ok(child.call(&handle, store.as_ref()).await));
                    done(hold, called, outcome)
                });
            }
            Place::Nowhere(why) => {
                let outcome = Outcome::Unsettled {
                    class: ErrorClass::Internal,
                    message: why.clone(),
                    retry_after_ms: None,
                };
                return Some(called.ended(outcome));
            }
        }
        None
    }

    fn make(&mut self, hold: Hold, called: Called, lane: LaneKey, call: participant::Call) {
        let limit = Duration::from_millis(call.timeout_ms.saturating_add(CALL_GRACE_MS));
        let ended = self.participants.call(call);
        self.tasks.spawn(async move {
            let outcome = timeout(limit, ended).await;
            let outcome = outcome.unwrap_or_else(|_| {
                Ok(Outcome::Unsettled {
                    class: ErrorClass::TimedOut,
                    message: format!("no answer in {} ms", limit.as_millis()),
                    retry_after_ms: None,
                })
            });
            Done::Called {
                hold,
                call: called,
                lane: Some(lane),
                outcome: Some(outcome),
            }
        });
    }

    /// Somebody reports how it ended, some time; the machine knows when it is too late.
    fn send(&mut self, hold: Hold, called: Called, message: Outgoing) {
        let sent = self.messages.publish(message);
        let limit = Duration::from_millis(PUBLISH_MS_MAX);
        self.tasks.spawn(async move {
            let outcome = match timeout(limit, sent).await {
                Ok(Ok(())) => None,
                Ok(Err(message)) => Some(unsent(message)),
                Err(_) => Some(unsent(format!("not sent in {PUBLISH_MS_MAX} ms"))),
            };
            done(hold, called, outcome.map(Ok))
        });
    }

    /// Whether a call may go out there now.
    pub(super) fn may_go(
        &mut self,
        group: u32,
        lane: &LaneKey,
        endpoint: &Endpoint,
        now_ms: u64,
    ) -> bool {
        let participants = &self.participants;
        let kept_back_for = || participants.kept_back_for(endpoint);
        let lanes = &mut self.lanes;
        if !lanes.has_room(lane, endpoint, now_ms, kept_back_for) || self.drain.is_some() {
            return false;
        }
        // Whoever may have been replaced begins nothing.
        let now = Instant::now();
        match self.groups.get_mut(group as usize) {
            Some(group) if group.alive_until <= now => {
                group.held_up.insert(lane.clone());
                false
            }
            Some(_) => true,
            None => false,
        }
    }

    pub(super) fn wait_in_lane(&mut self, hold: Hold, lane: &LaneKey) {
        self.lanes.enqueue(lane, hold);
        if let Some(held) = self.sagas.get(hold)
            && !held.lanes.contains(lane)
        {
            held.lanes.insert(lane.clone());
        }
    }

    pub(super) fn called(
        &mut self,
        hold: Hold,
        call: Called,
        lane: Option<LaneKey>,
        outcome: Option<Result<Outcome, NotTried>>,
    ) {
        if let (Some(lane), Some(outcome)) = (&lane, &outcome) {
            self.over(lane, outcome);
        }
        match (outcome, lane) {
            (Some(Ok(outcome)), _) => self.step_if_awake(hold, call.ended(outcome)),
            (Some(Err(_)), lane) => {
                if self.sagas.awake(hold).is_some()
                    && let Some(lane) = &lane
                {
                    self.wait_in_lane(hold, lane);
                }
                self.step_if_awake(hold, call.kept_back());
            }
            (None, _) => {}
        }
    }

    /// A call in a lane is over.
    pub(super) fn over(&mut self, lane: &LaneKey, outcome: &Result<Outcome, NotTried>) {
        match outcome {
            Ok(outcome) => self.lanes.end(lane, has_answered(outcome)),
            Err(not_tried) => {
                self.lanes.end(lane, false);
                let now_ms = self.now_ms();
                self.lanes.close(lane, now_ms, not_tried.retry_after);
            }
        }
        self.freed.insert(lane.clone());
    }

    pub(super) fn step_if_awake(&mut self, hold: Hold, input: Input) {
        if self.sagas.awake(hold).is_some() {
            self.step(hold, input);
        }
    }

    /// Lets through what waited for a lane, where there is room again.
    pub(super) fn open_lanes(&mut self) {
        let now_ms = self.now_ms();
        while let Some(lane) = self.lanes.open_next(now_ms) {
            self.freed.insert(lane);
        }
        let freed = std::mem::take(&mut self.freed);
        freed.iter().for_each(|lane| self.pump(lane));
        while let Some(lane) = self.lanes.next_crowded_out() {
            self.pump(&lane);
            if self.lanes.is_crowded() {
                break;
            }
        }
    }

    /// The oldest that wait for a lane go first.
    pub(super) fn pump(&mut self, lane: &LaneKey) {
        #[cfg(test)]
        if self.planted == Some(super::planted::Planted::KeepsLanesClosed) {
            return;
        }
        let now_ms = self.now_ms();
        let Some(endpoint) = self.lanes.endpoint(lane) else {
            return;
        };
        // Some may have to wait again.
        for _ in 0..self.lanes.waiting_in(lane) {
            let participants = &self.participants;
            let kept_back_for = || participants.kept_back_for(&endpoint);
            if self.drain.is_some() || !self.lanes.has_room(lane, &endpoint, now_ms, kept_back_for)
            {
                break;
            }
            let Some(hold) = self.lanes.pop(lane) else {
                break;
            };
            let Some(held) = self.sagas.get(hold) else {
                continue;
            };
            held.lanes.remove(lane);
            match &held.state {
                State::Awake(_) => self.step(hold, Input::LetThrough),
                State::Asleep => {
                    held.woken_by = Some(lane.clone());
                    self.lanes.keep_place(lane);
                    self.want_to_read(hold);
                }
                // It calls when it has been read.
                State::Loading => {}
            }
        }
        self.lanes.tidy(lane);
    }
}

impl Called {
    pub(super) fn kept_back(self) -> Input {
        Input::KeptBack {
            step: self.step,
            phase: self.phase,
            attempt: self.attempt,
        }
    }

    fn ended(self, outcome: Outcome) -> Input {
        Input::Ended {
            step: self.step,
            phase: self.phase,
            attempt: self.attempt,
            outcome,
        }
    }
}

fn done(hold: Hold, call: Called, outcome: Option<Result<Outcome, NotTried>>) -> Done {
    let lane = None;
    Done::Called {
        hold,
        call,
        lane,
        outcome,
    }
}

fn unsent(message: String) -> Outcome {
    Outcome::Unsettled {
        class: ErrorClass::Unreachable,
        message,
        retry_after_ms: None,
    }
}

/// Somebody is there, whatever they said.
fn has_answered(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Success { .. } | Outcome::Failure { .. } => true,
        Outcome::Unsettled { class, .. } => match class {
            ErrorClass::Unreachable | ErrorClass::TimedOut => false,
            ErrorClass::Overloaded
            | ErrorClass::BadAnswer
            | ErrorClass::Internal
            | ErrorClass::Ongoing => true,
        },
    }
}

fn message(record: &Record, call: &saga::Call, topic: &str, tag: &str) -> Outgoing {
    let definition = record.definition();
    let step = definition.step(call.step);
    let step = step.map(|step| step.name.clone()).unwrap_or_default();
    let started = record.started();
    Outgoing {
        topic: topic.to_owned(),
        tag: tag.to_owned(),
        key: started.saga.clone(),
        properties: vec![
            ("outrigger-saga-id", started.saga.clone()),
            ("outrigger-step", step),
            (
                "outrigger-phase",
                participant::phase_name(definition.mode(), call.phase).to_owned(),
            ),
            ("outrigger-attempt", call.attempt.to_string()),
            ("outrigger-idempotency-key", call.idempotency_key.clone()),
            ("outrigger-saga-started-at", started.start_at_ms.to_string()),
        ],
        body: call.payload.clone(),
    }
}
