//! The Guard service: checks what the caller asks and passes it to the store it names.

#[cfg(test)]
mod tests;

use outrigger_core::{
    guard::{Input, Mode, Outcome},
    limits::{
        GUARD_FINGERPRINT_BYTES_MAX, GUARD_KEY_BYTES_MAX, GUARD_LEASE_MS_MIN,
        GUARD_RESULT_BYTES_MAX, GUARD_TOKEN_CHARACTERS_MAX, GUARD_TTL_MS_DEFAULT, GUARD_TTL_MS_MAX,
        GUARD_TTL_MS_MIN, LEASE_MS_DEFAULT, LEASE_MS_MAX,
    },
    name,
};
use outrigger_proto::stored::{
    self, GuardAcquireRequest, GuardAcquireResponse, GuardCompleteRequest, GuardExtendRequest,
    GuardHoldResponse, GuardIncrementRequest, GuardIncrementResponse, GuardKey,
    GuardReleaseRequest, guard_acquire_response::Outcome as Acquire, guard_server,
};
use tonic::{Code, Request, Response, Status};

use super::status::Failure;
use crate::guards::{Backend, Error, Guards};

/// The gRPC service; cheap to clone.
#[derive(Clone)]
pub struct GuardService {
    guards: Guards,
}

impl GuardService {
    /// Over the stores of this sidecar.
    pub fn new(guards: Guards) -> Self {
        Self { guards }
    }

    async fn apply(&self, guard: Guard, input: Input) -> Result<Outcome, Failure> {
        let Guard {
            scope,
            key,
            backend,
            mode: _,
        } = guard;
        Ok(self
            .guards
            .apply(backend, &scope, key.into(), input)
            .await?)
    }

    async fn hold(
        &self,
        guard: Guard,
        input: Input,
    ) -> Result<Response<GuardHoldResponse>, Status> {
        let held = match self.apply(guard, input).await? {
            Outcome::Held => true,
            Outcome::Lost => false,
            other => return Err(unexpected(&other).into()),
        };
        Ok(Response::new(GuardHoldResponse { held }))
    }
}

#[tonic::async_trait]
impl guard_server::Guard for GuardService {
    async fn acquire(
        &self,
        request: Request<GuardAcquireRequest>,
    ) -> Result<Response<GuardAcquireResponse>, Status> {
        let request = request.into_inner();
        let guard = Guard::checked(request.guard)?;
        let input = Input::Acquire {
            mode: guard.mode,
            token: token(request.token)?,
            fingerprint: bytes_at_most(
                "fingerprint",
                request.fingerprint,
                GUARD_FINGERPRINT_BYTES_MAX,
            )?,
            lease_ms: lease_ms(request.lease_ms)?,
        };
        let outcome = match self.apply(guard, input).await? {
            Outcome::Acquired { fencing, takeover } => {
                Acquire::Acquired(stored::GuardAcquired { fencing, takeover })
            }
            Outcome::Busy { retry_after_ms } => Acquire::Busy(stored::GuardBusy { retry_after_ms }),
            Outcome::Done { result } => Acquire::Done(stored::GuardDone { result }),
            Outcome::Mismatch => Acquire::Mismatch(stored::GuardMismatch {}),
            other => return Err(unexpected(&other).into()),
        };
        Ok(Response::new(GuardAcquireResponse {
            outcome: Some(outcome),
        }))
    }

    async fn extend(
        &self,
        request: Request<GuardExtendRequest>,
    ) -> Result<Response<GuardHoldResponse>, Status> {
        let request = request.into_inner();
        let guard = Guard::checked(request.guard)?;
        let token = token(request.token)?;
        let lease_ms = lease_ms(request.lease_ms)?;
        self.hold(guard, Input::Extend { token, lease_ms }).await
    }

    async fn complete(
        &self,
        request: Request<GuardCompleteRequest>,
    ) -> Result<Response<GuardHoldResponse>, Status> {
        let request = request.into_inner();
        let guard = Guard::checked(request.guard)?;
        let input = Input::Complete {
            token: token(request.token)?,
            result: bytes_at_most("result", request.result, GUARD_RESULT_BYTES_MAX)?,
            ttl_ms: ttl_ms(request.ttl_ms)?,
        };
        self.hold(guard, input).await
    }

    async fn release(
        &self,
        request: Request<GuardReleaseRequest>,
    ) -> Result<Response<GuardHoldResponse>, Status> {
        let request = request.into_inner();
        let guard = Guard::checked(request.guard)?;
        let token = token(request.token)?;
        self.hold(guard, Input::Release { token }).await
    }

    async fn increment(
        &self,
        request: Request<GuardIncrementRequest>,
    ) -> Result<Response<GuardIncrementResponse>, Status> {
        let request = request.into_inner();
        let guard = Guard::checked(request.guard)?;
        let ttl_ms = ttl_ms(request.ttl_ms)?;
        match self.apply(guard, Input::Increment { ttl_ms }).await? {
            Outcome::Count(count) => Ok(Response::new(GuardIncrementResponse { count })),
            other => Err(unexpected(&other).into()),
        }
    }
}

/// A key that passed every check.
struct Guard {
    scope: String,
    key: String,
    backend: Option<Backend>,
    mode: Mode,
}

impl Guard {
    fn checked(guard: Option<GuardKey>) -> Result<Self, Failure> {
        let guard = guard.ok_or_else(|| {
            Failure::invalid("GUARD_MISSING", "guard", "not set", "a scope and a key")
        })?;
        name::check_group("guard.scope", &guard.scope)?;
        let bytes = guard.key.len();
        if !(1..=GUARD_KEY_BYTES_MAX).contains(&bytes) {
            return Err(Failure::invalid(
                "ILLEGAL_GUARD_KEY",
                "guard.key",
                format_args!("{bytes} bytes"),
                format_args!("1 to {GUARD_KEY_BYTES_MAX} bytes"),
            ));
        }
        let backend = match stored::GuardBackend::try_from(guard.backend) {
            Ok(stored::GuardBackend::Default) => None,
            Ok(stored::GuardBackend::Embedded) => Some(Backend::Embedded),
            Ok(stored::GuardBackend::Redis) => Some(Backend::Redis),
            Err(_) => {
                return Err(Failure::invalid(
                    "ILLEGAL_GUARD_BACKEND",
                    "guard.backend",
                    guard.backend,
                    "GUARD_BACKEND_DEFAULT, GUARD_BACKEND_EMBEDDED or GUARD_BACKEND_REDIS",
                ));
            }
        };
        let mode = match stored::GuardMode::try_from(guard.mode) {
            Ok(stored::GuardMode::Record) => Mode::Record,
            Ok(stored::GuardMode::SetNx) => Mode::SetNx,
            Err(_) => {
                return Err(Failure::invalid(
                    "ILLEGAL_GUARD_MODE",
                    "guard.mode",
                    guard.mode,
                    "GUARD_MODE_RECORD or GUARD_MODE_SET_NX",
                ));
            }
        };
        Ok(Self {
            scope: guard.scope,
            key: guard.key,
            backend,
            mode,
        })
    }
}

fn token(token: String) -> Result<String, Failure> {
    let characters = token.chars().count();
    if (1..=GUARD_TOKEN_CHARACTERS_MAX).contains(&characters) {
        return Ok(token);
    }
    Err(Failure::invalid(
        "ILLEGAL_GUARD_TOKEN",
        "token",
        format_args!("{characters} characters"),
        format_args!("1 to {GUARD_TOKEN_CHARACTERS_MAX} characters"),
    ))
}

fn bytes_at_most(
    field: &'static str,
    value: bytes::Bytes,
    limit: usize,
) -> Result<bytes::Bytes, Failure> {
    if value.len() <= limit {
        return Ok(value);
    }
    Err(Failure::invalid(
        "VALUE_TOO_LONG",
        field,
        format_args!("{} bytes", value.len()),
        format_args!("at most {limit} bytes"),
    ))
}

fn lease_ms(asked: u64) -> Result<u64, Failure> {
    within(
        "lease_ms",
        asked,
        LEASE_MS_DEFAULT,
        GUARD_LEASE_MS_MIN,
        LEASE_MS_MAX,
    )
}

fn ttl_ms(asked: u64) -> Result<u64, Failure> {
    within(
        "ttl_ms",
        asked,
        GUARD_TTL_MS_DEFAULT,
        GUARD_TTL_MS_MIN,
        GUARD_TTL_MS_MAX,
    )
}

fn within(
    field: &'static str,
    asked: u64,
    default: u64,
    min: u64,
    max: u64,
) -> Result<u64, Failure> {
    match asked {
        0 => Ok(default),
        asked if (min..=max).contains(&asked) => Ok(asked),
        asked => Err(Failure::invalid(
            "DURATION_OUT_OF_RANGE",
            field,
            asked,
            format_args!("{min} to {max} ms, or 0 for {default} ms"),
        )),
    }
}

fn unexpected(outcome: &Outcome) -> Failure {
    Failure::new(
        Code::Internal,
        "UNEXPECTED_OUTCOME",
        format!("the guard answered {outcome:?}"),
    )
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let (code, reason) = match &error {
            Error::Log(error) => return Self::from(*error),
            Error::Remote { code, reason, .. } => (*code, *reason),
            Error::Unexpected { .. } => (Code::Internal, "UNEXPECTED_OUTCOME"),
            Error::Url { .. } | Error::NotConfigured { .. } => {
                (Code::FailedPrecondition, "GUARD_BACKEND_NOT_CONFIGURED")
            }
            Error::Unavailable { .. } => (Code::Unavailable, "GUARD_BACKEND_UNAVAILABLE"),
            Error::TimedOut { .. } => (Code::DeadlineExceeded, "GUARD_BACKEND_TIMED_OUT"),
            Error::Refused { .. } => (Code::Internal, "GUARD_BACKEND_REFUSED"),
        };
        let failure = Self::new(code, reason, error.to_string());
        match error {
            Error::NotConfigured { backend } => failure
                .with("field", "guard.backend")
                .with("value", backend)
                .with("limit", "a configured backend"),
            Error::TimedOut { limit_ms, .. } => failure.with("limit", limit_ms),
            Error::Url { .. }
            | Error::Unavailable { .. }
            | Error::Refused { .. }
            | Error::Log(_)
            | Error::Remote { .. }
            | Error::Unexpected { .. } => failure,
        }
    }
}
