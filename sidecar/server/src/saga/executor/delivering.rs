//! Where the result of a saga goes when it has ended.

use std::time::Duration;

use bytes::Bytes;
use outrigger_core::{
    limits::SAGA_CALL_TIMEOUT_MS_DEFAULT,
    saga::{ErrorClass, Input, Outcome, Phase, Record, record::Status},
};
use serde_json::value::RawValue;
use tokio::time::timeout;

use super::{Executor, Outgoing, executor::Done, lanes::LaneKey, sagas::Hold, targets::Place};
use crate::saga::participant::{self, Endpoint, NotTried};

/// What stands in for the step in a delivery.
const STEP: &str = "result";

/// How the delivery to one place has ended, and the lane that it took.
pub(super) type Delivered = (usize, Option<LaneKey>, Result<Outcome, NotTried>);

impl Executor {
    /// Delivers the result to every place that does not have it yet, as far as they can be
    /// reached, or answers what the machine is told instead.
    pub(super) fn deliver(&mut self, hold: Hold, now_ms: u64) -> Option<Input> {
        let held = self.sagas.get(hold)?;
        if held.is_in_doubt {
            return Some(Input::DeliveryKeptBack);
        }
        let group = held.group;
        let awake = held.awake()?;
        let delivered = awake.delivered;
        let result = Delivery::of(awake.saga.record());
        let targets = self.targets.of(awake.saga.record().definition());
        let missing = targets.deliveries().iter().enumerate();
        let missing = missing.filter(|(at, _)| delivered & bit(*at) == 0);
        let (mut tries, mut kept_back) = (Vec::new(), None);
        for (at, place) in missing {
            match place {
                Place::Participant(endpoint, lane) => {
                    if self.may_go(group, lane, endpoint, now_ms) {
                        self.lanes.begin(lane);
                        let call = self.participants.call(result.call(endpoint));
                        tries.push(tried(at, Some(lane.clone()), call));
                    } else {
                        kept_back = Some(lane.clone());
                    }
                }
                Place::Message { topic, tag } if !self.is_draining() => {
                    let sent = self.messages.publish(result.message(topic, tag));
                    tries.push(tried(
                        at,
                        None,
                        Box::pin(async {
                            let outcome = match sent.await {
                                Ok(()) => Outcome::Success {
                                    output: Bytes::new(),
                                },
                                Err(message) => unsettled(message),
                            };
                            Ok(outcome)
                        }),
                    ));
                }
                Place::Nowhere(why) => {
                    let why = why.clone();
                    tries.push(tried(at, None, Box::pin(async { Ok(unsettled(why)) })));
                }
                // There are no others.
                Place::Message { .. } | Place::Saga { .. } => {}
            }
        }
        if tries.is_empty() {
            if let Some(lane) = kept_back {
                self.wait_in_lane(hold, &lane);
            }
            return Some(Input::DeliveryKeptBack);
        }
        self.tasks.spawn(async move {
            let places = futures::future::join_all(tries).await;
            Done::Delivered { hold, places }
        });
        None
    }

    pub(super) fn delivered(&mut self, hold: Hold, places: Vec<Delivered>) {
        for (_, lane, outcome) in &places {
            if let Some(lane) = lane {
                self.over(lane, outcome);
            }
        }
        let Some(awake) = self.sagas.awake(hold) else {
            return;
        };
        let (mut failed, mut kept_back) = (None, None);
        for (at, lane, outcome) in places {
            match outcome {
                Ok(Outcome::Success { .. }) => awake.delivered |= bit(at),
                Ok(Outcome::Failure { message } | Outcome::Unsettled { message, .. }) => {
                    failed = Some(message);
                }
                Err(_) => kept_back = lane,
            }
        }
        let count = awake.saga.record().definition().deliveries().len();
        let all = (0..count).all(|at| awake.delivered & bit(at) != 0);
        let input = match (all, failed, kept_back) {
            (true, ..) => Input::DeliveryEnded { delivered: Ok(()) },
            (false, Some(message), _) => Input::DeliveryEnded {
                delivered: Err(message),
            },
            (false, None, Some(lane)) => {
                self.wait_in_lane(hold, &lane);
                Input::DeliveryKeptBack
            }
            // Some were kept back before; they are tried now, and wait if they have to.
            (false, None, None) => {
                let inputs = vec![Input::LetThrough, Input::DeliveryKeptBack];
                self.step_through(hold, inputs);
                return;
            }
        };
        self.step_if_awake(hold, input);
    }
}

fn bit(at: usize) -> u8 {
    1_u8.checked_shl(u32::try_from(at).unwrap_or(u32::MAX))
        .unwrap_or(0)
}

async fn tried(
    at: usize,
    lane: Option<LaneKey>,
    ended: futures::future::BoxFuture<'static, Result<Outcome, NotTried>>,
) -> Delivered {
    // The caller of participants keeps to the call's own time.
    let limit = Duration::from_millis(2 * SAGA_CALL_TIMEOUT_MS_DEFAULT);
    let outcome = timeout(limit, ended).await;
    let outcome = outcome.unwrap_or_else(|_| Ok(unsettled("no answer".to_owned())));
    (at, lane, outcome)
}

fn unsettled(message: String) -> Outcome {
    Outcome::Unsettled {
        class: ErrorClass::Internal,
        message,
        retry_after_ms: None,
    }
}

/// A result on its way.
struct Delivery {
    saga: String,
    definition: String,
    status: &'static str,
    started_at_ms: u64,
    body: Bytes,
}

impl Delivery {
    fn of(record: &Record) -> Self {
        let started = record.started();
        let status = match record.status() {
            Status::Completed => "completed",
            Status::Undone | Status::Working(_) | Status::Parked { .. } => "undone",
        };
        Self {
            saga: started.saga.clone(),
            definition: started.definition.clone(),
            status,
            started_at_ms: started.start_at_ms,
            body: body(record, status),
        }
    }

    /// Every attempt has the same key. A saga that was completed and is undone later, as part
    /// of another one, has another result.
    fn key(&self) -> String {
        format!("{}/{STEP}/{}", self.saga, self.status)
    }

    fn call(&self, endpoint: &Endpoint) -> participant::Call {
        participant::Call {
            endpoint: endpoint.clone(),
            saga: self.saga.clone(),
            definition: self.definition.clone(),
            step: STEP.to_owned(),
            mode: outrigger_core::saga::definition::Mode::Saga,
            phase: Phase::Action,
            attempt: 1,
            started_at_ms: self.started_at_ms,
            idempotency_key: self.key(),
            payload: self.body.clone(),
            action_output: None,
            timeout_ms: SAGA_CALL_TIMEOUT_MS_DEFAULT,
            // Nobody reads it.
            response_bytes_max: 64 << 10,
            traceparent: None,
        }
    }

    fn message(&self, topic: &str, tag: &str) -> Outgoing {
        Outgoing {
            topic: topic.to_owned(),
            tag: tag.to_owned(),
            key: self.saga.clone(),
            properties: vec![
                ("outrigger-saga-id", self.saga.clone()),
                ("outrigger-saga-status", self.status.to_owned()),
                ("outrigger-idempotency-key", self.key()),
                ("outrigger-saga-started-at", self.started_at_ms.to_string()),
            ],
            body: self.body.clone(),
        }
    }
}

/// The result as JSON.
fn body(record: &Record, status: &str) -> Bytes {
    #[derive(serde::Serialize)]
    struct Body<'a> {
        saga_id: &'a str,
        definition: &'a str,
        version: String,
        status: &'a str,
        output: Option<&'a RawValue>,
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    }
    let started = record.started();
    let (result, mut error) = match record.result() {
        Ok(result) => (result, None),
        Err(error) => (None, Some(format!("the mapping of the output {error}"))),
    };
    let output = result.as_deref().map(serde_json::from_slice::<&RawValue>);
    let output = match output.transpose() {
        Ok(output) => output,
        Err(_) => {
            error.get_or_insert_with(|| "the output is not JSON".to_owned());
            None
        }
    };
    let body = Body {
        saga_id: &started.saga,
        definition: &started.definition,
        version: started.version.to_string(),
        status,
        output,
        error,
    };
    // Text and raw JSON can always be written.
    serde_json::to_vec(&body).unwrap_or_default().into()
}
