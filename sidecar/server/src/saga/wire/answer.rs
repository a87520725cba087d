use outrigger_core::saga::ledger::{Answer, Held, Refusal};
use outrigger_proto::cluster::{
    HeldSaga, SagaActed, SagaAnswer, SagaAppended, SagaDefined, SagaOwned, SagaRefusal,
    SagaRefused, SagaStarted, saga_answer::Answer as Wire,
};

use super::{Malformed, from_owner, to_owner};
use crate::saga::store::{Refused, Why};

/// What became of a command, as it goes over the wire.
pub(crate) fn to_answer(answer: Answer) -> SagaAnswer {
    let answer = match answer {
        Answer::Defined { version, created } => Wire::Defined(SagaDefined {
            version: version.to_string(),
            created,
        }),
        Answer::Started { epoch, created } => Wire::Started(SagaStarted { epoch, created }),
        Answer::Appended { sequence } => Wire::Appended(SagaAppended { sequence }),
        Answer::Acted { sequence, owner } => Wire::Acted(SagaActed {
            sequence,
            owner: to_owner(owner),
        }),
        Answer::Owned {
            until_ms,
            taken,
            acted_on,
            more,
            told,
        } => Wire::Owned(SagaOwned {
            until_ms,
            taken: taken
                .into_iter()
                .map(|held| HeldSaga {
                    saga_id: held.saga,
                    epoch: held.epoch,
                })
                .collect(),
            acted_on,
            more,
            told,
        }),
        Answer::Refused(refusal) => Wire::Refused(refused(refusal)),
    };
    SagaAnswer {
        answer: Some(answer),
    }
}

fn refused(refusal: Refusal) -> SagaRefused {
    let Refused { why, message } = refusal.into();
    SagaRefused {
        why: to_why(why).into(),
        message,
    }
}

/// What another process says became of a command.
///
/// # Errors
/// When it says something that this program does not know.
pub(crate) fn from_answer(answer: SagaAnswer) -> Result<Result<Answer, Refused>, Malformed> {
    let missing = |field| Malformed::Field { field };
    Ok(Ok(match answer.answer.ok_or(missing("answer"))? {
        Wire::Defined(SagaDefined { version, created }) => Answer::Defined {
            version: version.parse().map_err(|_| missing("version"))?,
            created,
        },
        Wire::Started(SagaStarted { epoch, created }) => Answer::Started { epoch, created },
        Wire::Appended(SagaAppended { sequence }) => Answer::Appended { sequence },
        Wire::Acted(SagaActed { sequence, owner }) => Answer::Acted {
            sequence,
            owner: from_owner(&owner)?,
        },
        Wire::Owned(owned) => Answer::Owned {
            until_ms: owned.until_ms,
            taken: owned
                .taken
                .into_iter()
                .map(|held| Held {
                    saga: held.saga_id,
                    epoch: held.epoch,
                })
                .collect(),
            acted_on: owned.acted_on,
            more: owned.more,
            told: owned.told,
        },
        Wire::Refused(refused) => {
            let why = from_why(refused.why()).ok_or(missing("why"))?;
            let message = refused.message;
            return Ok(Err(Refused { why, message }));
        }
    }))
}

fn to_why(why: Why) -> SagaRefusal {
    match why {
        Why::DefinitionInvalid => SagaRefusal::DefinitionInvalid,
        Why::DefinitionNotFound => SagaRefusal::DefinitionNotFound,
        Why::TooManyDefinitions => SagaRefusal::TooManyDefinitions,
        Why::StartInvalid => SagaRefusal::StartInvalid,
        Why::Conflict => SagaRefusal::Conflict,
        Why::TooManySagas => SagaRefusal::TooManySagas,
        Why::SagaNotFound => SagaRefusal::SagaNotFound,
        Why::StepNotFound => SagaRefusal::StepNotFound,
        Why::NotOwner => SagaRefusal::NotOwner,
        Why::Stale => SagaRefusal::Stale,
        Why::Illegal => SagaRefusal::Illegal,
        Why::TooManyEvents => SagaRefusal::TooManyEvents,
        Why::TooManyActs => SagaRefusal::TooManyActs,
        Why::NotCalled => SagaRefusal::NotCalled,
        Why::Invalid => SagaRefusal::Invalid,
    }
}

fn from_why(why: SagaRefusal) -> Option<Why> {
    Some(match why {
        SagaRefusal::Unspecified => return None,
        SagaRefusal::DefinitionInvalid => Why::DefinitionInvalid,
        SagaRefusal::DefinitionNotFound => Why::DefinitionNotFound,
        SagaRefusal::TooManyDefinitions => Why::TooManyDefinitions,
        SagaRefusal::StartInvalid => Why::StartInvalid,
        SagaRefusal::Conflict => Why::Conflict,
        SagaRefusal::TooManySagas => Why::TooManySagas,
        SagaRefusal::SagaNotFound => Why::SagaNotFound,
        SagaRefusal::StepNotFound => Why::StepNotFound,
        SagaRefusal::NotOwner => Why::NotOwner,
        SagaRefusal::Stale => Why::Stale,
        SagaRefusal::Illegal => Why::Illegal,
        SagaRefusal::TooManyEvents => Why::TooManyEvents,
        SagaRefusal::TooManyActs => Why::TooManyActs,
        SagaRefusal::NotCalled => Why::NotCalled,
        SagaRefusal::Invalid => Why::Invalid,
    })
}
