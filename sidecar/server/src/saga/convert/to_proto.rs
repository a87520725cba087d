use outrigger_core::saga::{
    Definition, ErrorClass,
    definition::{Action, Attempts, Delivery, Mode, Retry, RetryPolicy, Step, Target},
};
use outrigger_proto::v1::{
    SagaCall, SagaClassRetry, SagaDefinition, SagaDelivery, SagaErrorClass, SagaGrpcTarget,
    SagaHttpTarget, SagaMessageTarget, SagaMode, SagaNothingToUndo, SagaRetry, SagaRetryPolicy,
    SagaStep, SagaSubSagaTarget, SagaWebhook, saga_call, saga_delivery, saga_step::UndoOrNothing,
};

/// A definition as it goes over the wire, with everything that defaults decide written out.
/// Checking it gives the same version.
#[must_use]
pub fn to_proto(from: &Definition) -> SagaDefinition {
    let steps = (0..).zip(from.steps());
    let steps = steps.map(|(at, one)| step(from, one, from.pivot() == Some(at)));
    SagaDefinition {
        name: from.name().to_owned(),
        mode: match from.mode() {
            Mode::Saga => SagaMode::Saga,
            Mode::Tcc => SagaMode::Tcc,
        }
        .into(),
        steps: steps.collect(),
        deadline_ms: from.deadline_ms().unwrap_or(0),
        output: from.output().map_or_else(String::new, |m| m.to_json()),
        deliveries: from.deliveries().iter().map(delivery).collect(),
        payload_bytes_max: u32::try_from(from.payload_bytes_max()).unwrap_or(u32::MAX),
    }
}

fn step(definition: &Definition, from: &Step, pivot: bool) -> SagaStep {
    let names = from.depends_on.iter().filter_map(|at| definition.step(*at));
    let sub_saga = matches!(from.action.target, Target::Saga { .. });
    SagaStep {
        name: from.name.clone(),
        depends_on: names.map(|step| step.name.clone()).collect(),
        action: Some(call(&from.action)),
        undo_or_nothing: match &from.undo {
            // It is undone as the saga that it is.
            Some(_) if sub_saga => None,
            Some(undo) => Some(UndoOrNothing::Undo(call(undo))),
            None => Some(UndoOrNothing::NothingToUndo(SagaNothingToUndo {})),
        },
        confirm: from.confirm.as_ref().map(call),
        pivot,
    }
}

fn call(from: &Action) -> SagaCall {
    SagaCall {
        target: Some(match &from.target {
            Target::Http { url } => saga_call::Target::Http(SagaHttpTarget { url: url.clone() }),
            Target::Grpc { url, operation } => saga_call::Target::Grpc(SagaGrpcTarget {
                url: url.clone(),
                operation: operation.clone(),
            }),
            Target::Message { topic, tag } => saga_call::Target::Message(message(topic, tag)),
            Target::Saga {
                definition,
                version,
            } => saga_call::Target::Saga(SagaSubSagaTarget {
                definition: definition.clone(),
                version: version.to_string(),
            }),
        }),
        input: from
            .input
            .as_ref()
            .map_or_else(String::new, |m| m.to_json()),
        timeout_ms: from.timeout_ms,
        retry: Some(retry(&from.retry)),
    }
}

fn retry(from: &Retry) -> SagaRetry {
    let classes = from.classes.iter().map(|(class, policy)| SagaClassRetry {
        class: error_class(*class).into(),
        policy: Some(retry_policy(policy)),
    });
    SagaRetry {
        otherwise: Some(retry_policy(&from.otherwise)),
        classes: classes.collect(),
    }
}

fn retry_policy(from: &RetryPolicy) -> SagaRetryPolicy {
    SagaRetryPolicy {
        base_ms: from.base_ms,
        cap_ms: from.cap_ms,
        attempts_max: match from.attempts {
            Attempts::AtMost(most) => most,
            Attempts::ByPosition | Attempts::Unbounded => 0,
        },
        unbounded: from.attempts == Attempts::Unbounded,
    }
}

fn error_class(class: ErrorClass) -> SagaErrorClass {
    match class {
        ErrorClass::Unreachable => SagaErrorClass::Unreachable,
        ErrorClass::TimedOut => SagaErrorClass::TimedOut,
        ErrorClass::Overloaded => SagaErrorClass::Overloaded,
        ErrorClass::BadAnswer => SagaErrorClass::BadAnswer,
        ErrorClass::Internal => SagaErrorClass::Internal,
        ErrorClass::Ongoing => SagaErrorClass::Ongoing,
    }
}

fn delivery(from: &Delivery) -> SagaDelivery {
    SagaDelivery {
        to: Some(match from {
            Delivery::Webhook { url } => {
                saga_delivery::To::Webhook(SagaWebhook { url: url.clone() })
            }
            Delivery::Message { topic, tag } => saga_delivery::To::Message(message(topic, tag)),
        }),
    }
}

fn message(topic: &str, tag: &str) -> SagaMessageTarget {
    SagaMessageTarget {
        topic: topic.to_owned(),
        tag: tag.to_owned(),
    }
}
