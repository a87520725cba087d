use std::collections::BTreeMap;

use outrigger_core::saga::{
    Definition, ErrorClass,
    definition::{
        Action, Attempts, Delivery, Draft, DraftStep, Mode, Retry, RetryPolicy, Target, Undo,
    },
    mapping::Mapping,
};
use outrigger_proto::v1::{
    SagaCall, SagaDefinition, SagaDelivery, SagaErrorClass, SagaMode, SagaRetry, SagaRetryPolicy,
    SagaStep, saga_call, saga_delivery, saga_step::UndoOrNothing,
};

use super::{Error, Latest};

/// Checks a definition that came over the wire or from a file.
///
/// # Errors
/// The first fault found; it names the step and the field.
pub fn definition(from: &SagaDefinition, latest: &Latest<'_>) -> Result<Definition, Error> {
    let mode = match SagaMode::try_from(from.mode) {
        Ok(SagaMode::Saga) => Mode::Saga,
        Ok(SagaMode::Tcc) => Mode::Tcc,
        Err(_) => return Err(Error::Mode { value: from.mode }),
    };
    let mut draft = Draft::new(&from.name, mode);
    draft.deadline_ms = Some(from.deadline_ms).filter(|ms| *ms > 0);
    draft.output = mapping(&from.output).map_err(|fault| Error::Output { fault })?;
    draft.deliveries = from
        .deliveries
        .iter()
        .map(delivery)
        .collect::<Result<_, _>>()?;
    if from.payload_bytes_max > 0 {
        draft.payload_bytes_max = from.payload_bytes_max;
    }
    let steps = from
        .steps
        .iter()
        .map(|step| Step { step, mode, latest }.draft());
    draft.steps = steps.collect::<Result<_, _>>()?;
    Ok(Definition::new(draft)?)
}

struct Step<'a> {
    step: &'a SagaStep,
    mode: Mode,
    latest: &'a Latest<'a>,
}

impl Step<'_> {
    fn draft(&self) -> Result<DraftStep, Error> {
        let step = self.step;
        // As files and errors of the core call it.
        let undo_field = match self.mode {
            Mode::Saga => "undo",
            Mode::Tcc => "cancel",
        };
        let action = step.action.as_ref();
        let action = action.ok_or_else(|| self.missing("action".to_owned()))?;
        let undo = match &step.undo_or_nothing {
            None => Undo::Unspecified,
            Some(UndoOrNothing::NothingToUndo(_)) => Undo::Nothing,
            Some(UndoOrNothing::Undo(call)) => Undo::Call(self.call(undo_field, call)?),
        };
        let confirm = step.confirm.as_ref();
        Ok(DraftStep {
            name: step.name.clone(),
            depends_on: step.depends_on.clone(),
            action: self.call("action", action)?,
            undo,
            confirm: confirm.map(|call| self.call("confirm", call)).transpose()?,
            pivot: step.pivot,
        })
    }

    fn call(&self, field: &'static str, call: &SagaCall) -> Result<Action, Error> {
        let mut action = Action::new(self.target(field, call)?);
        action.input = mapping(&call.input).map_err(|fault| Error::Input {
            step: self.name(),
            field,
            fault,
        })?;
        if call.timeout_ms > 0 {
            action.timeout_ms = call.timeout_ms;
        }
        if let Some(from) = &call.retry {
            action.retry = self.retry(field, from)?;
        }
        Ok(action)
    }

    fn target(&self, field: &'static str, call: &SagaCall) -> Result<Target, Error> {
        use saga_call::Target as From;
        let target = call.target.as_ref();
        let missing = || self.missing(format!("{field}: http, grpc, message or saga"));
        Ok(match target.ok_or_else(missing)? {
            From::Http(to) => Target::Http {
                url: to.url.clone(),
            },
            From::Grpc(to) => Target::Grpc {
                url: to.url.clone(),
                operation: to.operation.clone(),
            },
            From::Message(to) => Target::Message {
                topic: to.topic.clone(),
                tag: to.tag.clone(),
            },
            From::Saga(to) => {
                let definition = to.definition.clone();
                let version = if to.version.is_empty() {
                    let latest = (self.latest)(&definition);
                    latest.ok_or_else(|| Error::NoDefinition {
                        step: self.name(),
                        field,
                        definition: definition.clone(),
                    })?
                } else {
                    to.version.parse().map_err(|fault| Error::Version {
                        step: self.name(),
                        field,
                        fault,
                    })?
                };
                Target::Saga {
                    definition,
                    version,
                }
            }
        })
    }

    fn retry(&self, field: &'static str, from: &SagaRetry) -> Result<Retry, Error> {
        let otherwise = from.otherwise.as_ref();
        let mut classes = BTreeMap::new();
        for one in &from.classes {
            let class = class(one.class).ok_or_else(|| Error::Class {
                step: self.name(),
                field,
                value: one.class,
            })?;
            let default = match class {
                ErrorClass::Ongoing => RetryPolicy::ONGOING_DEFAULT,
                ErrorClass::Unreachable
                | ErrorClass::TimedOut
                | ErrorClass::Overloaded
                | ErrorClass::BadAnswer
                | ErrorClass::Internal => RetryPolicy::DEFAULT,
            };
            let policy = one.policy.as_ref();
            let policy = policy.map_or(default, |from| policy_of(from, default));
            if classes.insert(class, policy).is_some() {
                return Err(Error::DuplicateClass {
                    step: self.name(),
                    field,
                    class: class.name(),
                });
            }
        }
        let ongoing = classes.entry(ErrorClass::Ongoing);
        ongoing.or_insert(RetryPolicy::ONGOING_DEFAULT);
        let default = RetryPolicy::DEFAULT;
        Ok(Retry {
            otherwise: otherwise.map_or(default, |from| policy_of(from, default)),
            classes,
        })
    }

    fn missing(&self, field: String) -> Error {
        let step = self.name();
        Error::Missing { step, field }
    }

    fn name(&self) -> String {
        self.step.name.clone()
    }
}

fn policy_of(from: &SagaRetryPolicy, default: RetryPolicy) -> RetryPolicy {
    let or = |value, default| if value > 0 { value } else { default };
    let cap_ms = or(from.cap_ms, default.cap_ms);
    RetryPolicy {
        // A cap below the default base lowers the base too.
        base_ms: or(from.base_ms, default.base_ms.min(cap_ms)),
        cap_ms,
        attempts: match (from.unbounded, from.attempts_max) {
            (true, _) => Attempts::Unbounded,
            (false, 0) => Attempts::ByPosition,
            (false, most) => Attempts::AtMost(most),
        },
    }
}

fn class(number: i32) -> Option<ErrorClass> {
    Some(match SagaErrorClass::try_from(number).ok()? {
        SagaErrorClass::Unspecified => return None,
        SagaErrorClass::Unreachable => ErrorClass::Unreachable,
        SagaErrorClass::TimedOut => ErrorClass::TimedOut,
        SagaErrorClass::Overloaded => ErrorClass::Overloaded,
        SagaErrorClass::BadAnswer => ErrorClass::BadAnswer,
        SagaErrorClass::Internal => ErrorClass::Internal,
        SagaErrorClass::Ongoing => ErrorClass::Ongoing,
    })
}

fn delivery(from: &SagaDelivery) -> Result<Delivery, Error> {
    Ok(match from.to.as_ref().ok_or(Error::Delivery)? {
        saga_delivery::To::Webhook(to) => Delivery::Webhook {
            url: to.url.clone(),
        },
        saga_delivery::To::Message(to) => Delivery::Message {
            topic: to.topic.clone(),
            tag: to.tag.clone(),
        },
    })
}

fn mapping(json: &str) -> Result<Option<Mapping>, outrigger_core::saga::mapping::Error> {
    match json.is_empty() {
        true => Ok(None),
        false => Mapping::parse(json).map(Some),
    }
}
