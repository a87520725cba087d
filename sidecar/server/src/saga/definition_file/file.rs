//! The form of a definition file.

use std::collections::BTreeMap;

use outrigger_core::saga::definition::Mode;
use outrigger_proto::v1::{
    SagaCall, SagaClassRetry, SagaDefinition, SagaDelivery, SagaErrorClass, SagaGrpcTarget,
    SagaHttpTarget, SagaMessageTarget, SagaMode, SagaNothingToUndo, SagaRetry, SagaRetryPolicy,
    SagaStep, SagaSubSagaTarget, SagaWebhook, saga_call, saga_delivery, saga_step::UndoOrNothing,
};
use serde::Deserialize;
use serde_json::Value;

use super::Error;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    name: String,
    #[serde(default)]
    mode: FileMode,
    deadline_ms: Option<u64>,
    payload_bytes_max: Option<u32>,
    steps: Vec<Step>,
    output: Option<Value>,
    #[serde(default)]
    deliver_to: Vec<Place>,
}

#[derive(Deserialize, Clone, Copy, Default, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum FileMode {
    #[default]
    Saga,
    Tcc,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    name: String,
    #[serde(default)]
    depends_on: Vec<String>,
    action: Option<Call>,
    undo: Option<Call>,
    r#try: Option<Call>,
    confirm: Option<Call>,
    cancel: Option<Call>,
    #[serde(default)]
    nothing_to_undo: bool,
    #[serde(default)]
    pivot: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Call {
    http: Option<String>,
    grpc: Option<Grpc>,
    message: Option<Message>,
    saga: Option<SubSaga>,
    input: Option<Value>,
    timeout_ms: Option<u64>,
    retry: Option<Retry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Grpc {
    url: String,
    #[serde(default)]
    operation: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Message {
    topic: String,
    #[serde(default)]
    tag: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SubSaga {
    definition: String,
    #[serde(default)]
    version: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Retry {
    base_ms: Option<u64>,
    cap_ms: Option<u64>,
    attempts_max: Option<u32>,
    #[serde(default)]
    unbounded: bool,
    #[serde(default)]
    classes: BTreeMap<Class, Policy>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Policy {
    base_ms: Option<u64>,
    cap_ms: Option<u64>,
    attempts_max: Option<u32>,
    #[serde(default)]
    unbounded: bool,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "snake_case")]
enum Class {
    Unreachable,
    TimedOut,
    Overloaded,
    BadAnswer,
    Internal,
    Ongoing,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    webhook: Option<String>,
    message: Option<Message>,
}

impl File {
    pub(super) fn into_proto(self) -> Result<SagaDefinition, Error> {
        let mode = self.mode;
        let steps = self.steps.into_iter().map(|step| step.into_proto(mode));
        let places = self.deliver_to.into_iter().map(Place::into_proto);
        Ok(SagaDefinition {
            name: self.name,
            mode: match mode {
                FileMode::Saga => SagaMode::Saga,
                FileMode::Tcc => SagaMode::Tcc,
            }
            .into(),
            steps: steps.collect::<Result<_, _>>()?,
            deadline_ms: self.deadline_ms.unwrap_or(0),
            output: json(self.output),
            deliveries: places.collect::<Result<_, _>>()?,
            payload_bytes_max: self.payload_bytes_max.unwrap_or(0),
        })
    }
}

impl Step {
    fn into_proto(self, mode: FileMode) -> Result<SagaStep, Error> {
        let step = self.name;
        let (present, absent) = match mode {
            FileMode::Saga => (
                ("action", self.action, "undo", self.undo),
                [
                    ("try", self.r#try.is_some()),
                    ("confirm", self.confirm.is_some()),
                    ("cancel", self.cancel.is_some()),
                ],
            ),
            FileMode::Tcc => (
                ("try", self.r#try, "cancel", self.cancel),
                [
                    ("action", self.action.is_some()),
                    ("undo", self.undo.is_some()),
                    ("", false),
                ],
            ),
        };
        if let Some((field, _)) = absent.into_iter().find(|(_, there)| *there) {
            let mode = match mode {
                FileMode::Saga => Mode::Tcc,
                FileMode::Tcc => Mode::Saga,
            };
            return Err(Error::WrongMode { step, field, mode });
        }
        let (action_field, action, undo_field, undo) = present;
        let Some(action) = action else {
            let field = action_field;
            return Err(Error::Missing { step, field });
        };
        let undo_or_nothing = match (undo, self.nothing_to_undo) {
            (Some(_), true) => {
                let field = undo_field;
                return Err(Error::BothUndos { step, field });
            }
            (Some(undo), false) => Some(UndoOrNothing::Undo(undo.into_proto(&step, undo_field)?)),
            (None, true) => Some(UndoOrNothing::NothingToUndo(SagaNothingToUndo {})),
            (None, false) => None,
        };
        let confirm = self.confirm.map(|call| call.into_proto(&step, "confirm"));
        Ok(SagaStep {
            action: Some(action.into_proto(&step, action_field)?),
            undo_or_nothing,
            confirm: confirm.transpose()?,
            name: step,
            depends_on: self.depends_on,
            pivot: self.pivot,
        })
    }
}

impl Call {
    fn into_proto(self, step: &str, field: &'static str) -> Result<SagaCall, Error> {
        let mut targets = Vec::new();
        targets.extend(
            self.http
                .map(|url| saga_call::Target::Http(SagaHttpTarget { url })),
        );
        targets.extend(self.grpc.map(|grpc| {
            saga_call::Target::Grpc(SagaGrpcTarget {
                url: grpc.url,
                operation: grpc.operation,
            })
        }));
        targets.extend(
            self.message
                .map(|m| saga_call::Target::Message(m.into_proto())),
        );
        targets.extend(self.saga.map(|saga| {
            saga_call::Target::Saga(SagaSubSagaTarget {
                definition: saga.definition,
                version: saga.version,
            })
        }));
        let count = targets.len();
        let target = targets.pop().filter(|_| count == 1);
        if target.is_none() {
            return Err(Error::Target {
                step: step.to_owned(),
                field,
                count,
            });
        }
        Ok(SagaCall {
            target,
            input: json(self.input),
            timeout_ms: self.timeout_ms.unwrap_or(0),
            retry: self.retry.map(Retry::into_proto),
        })
    }
}

impl Message {
    fn into_proto(self) -> SagaMessageTarget {
        SagaMessageTarget {
            topic: self.topic,
            tag: self.tag,
        }
    }
}

impl Retry {
    fn into_proto(self) -> SagaRetry {
        let otherwise = Policy {
            base_ms: self.base_ms,
            cap_ms: self.cap_ms,
            attempts_max: self.attempts_max,
            unbounded: self.unbounded,
        };
        let classes = self
            .classes
            .into_iter()
            .map(|(class, policy)| SagaClassRetry {
                class: class.into_proto().into(),
                policy: Some(policy.into_proto()),
            });
        SagaRetry {
            otherwise: Some(otherwise.into_proto()),
            classes: classes.collect(),
        }
    }
}

impl Policy {
    fn into_proto(self) -> SagaRetryPolicy {
        SagaRetryPolicy {
            base_ms: self.base_ms.unwrap_or(0),
            cap_ms: self.cap_ms.unwrap_or(0),
            attempts_max: self.attempts_max.unwrap_or(0),
            unbounded: self.unbounded,
        }
    }
}

impl Class {
    fn into_proto(self) -> SagaErrorClass {
        match self {
            Self::Unreachable => SagaErrorClass::Unreachable,
            Self::TimedOut => SagaErrorClass::TimedOut,
            Self::Overloaded => SagaErrorClass::Overloaded,
            Self::BadAnswer => SagaErrorClass::BadAnswer,
            Self::Internal => SagaErrorClass::Internal,
            Self::Ongoing => SagaErrorClass::Ongoing,
        }
    }
}

impl Place {
    fn into_proto(self) -> Result<SagaDelivery, Error> {
        let to = match (self.webhook, self.message) {
            (Some(url), None) => saga_delivery::To::Webhook(SagaWebhook { url }),
            (None, Some(message)) => saga_delivery::To::Message(message.into_proto()),
            (None, None) => return Err(Error::Delivery { count: 0 }),
            (Some(_), Some(_)) => return Err(Error::Delivery { count: 2 }),
        };
        Ok(SagaDelivery { to: Some(to) })
    }
}

fn json(value: Option<Value>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}
