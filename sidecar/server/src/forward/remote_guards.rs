use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt as _};
use outrigger_core::guard::{Input, Mode, Outcome};
use outrigger_proto::v1::{self, guard_acquire_response, guard_client::GuardClient};
use tonic::{Request, Status};

use super::{Port, failure};
use crate::guards::{Error, GuardStore};

/// The guards in the cluster's log, for a process that keeps no log.
pub struct RemoteGuards {
    client: GuardClient<Port>,
}

impl RemoteGuards {
    /// Asks through a port that knows where they are.
    #[must_use]
    pub fn new(port: Port) -> Self {
        Self {
            client: GuardClient::new(port),
        }
    }

    async fn ask(&self, scope: &str, key: Bytes, input: Input) -> Result<Outcome, Status> {
        let mut client = self.client.clone();
        let guard = |mode: Mode| {
            let key = String::from_utf8(key.to_vec());
            Ok::<_, Status>(Some(v1::GuardKey {
                scope: scope.to_owned(),
                key: key.map_err(|_| Status::invalid_argument("guard.key is not UTF-8"))?,
                backend: v1::GuardBackend::Embedded.into(),
                mode: match mode {
                    Mode::Record => v1::GuardMode::Record,
                    Mode::SetNx => v1::GuardMode::SetNx,
                }
                .into(),
            }))
        };
        let held = |held: bool| if held { Outcome::Held } else { Outcome::Lost };
        match input {
            Input::Acquire {
                mode,
                token,
                fingerprint,
                lease_ms,
            } => {
                let request = v1::GuardAcquireRequest {
                    guard: guard(mode)?,
                    token,
                    fingerprint,
                    lease_ms,
                };
                let answer = client.acquire(Request::new(request)).await?.into_inner();
                acquired(answer)
            }
            Input::Extend { token, lease_ms } => {
                let request = v1::GuardExtendRequest {
                    guard: guard(Mode::Record)?,
                    token,
                    lease_ms,
                };
                Ok(held(client.extend(request).await?.into_inner().held))
            }
            Input::Complete {
                token,
                result,
                ttl_ms,
            } => {
                let request = v1::GuardCompleteRequest {
                    guard: guard(Mode::Record)?,
                    token,
                    result,
                    ttl_ms,
                };
                Ok(held(client.complete(request).await?.into_inner().held))
            }
            Input::Release { token } => {
                let request = v1::GuardReleaseRequest {
                    guard: guard(Mode::Record)?,
                    token,
                };
                Ok(held(client.release(request).await?.into_inner().held))
            }
            Input::Increment { ttl_ms } => {
                let request = v1::GuardIncrementRequest {
                    guard: guard(Mode::Record)?,
                    ttl_ms,
                };
                let answer = client.increment(request).await?.into_inner();
                Ok(Outcome::Count(answer.count))
            }
        }
    }
}

fn acquired(answer: v1::GuardAcquireResponse) -> Result<Outcome, Status> {
    use guard_acquire_response::Outcome as Answer;
    match answer.outcome {
        Some(Answer::Acquired(v1::GuardAcquired { fencing, takeover })) => {
            Ok(Outcome::Acquired { fencing, takeover })
        }
        Some(Answer::Busy(v1::GuardBusy { retry_after_ms })) => {
            Ok(Outcome::Busy { retry_after_ms })
        }
        Some(Answer::Done(v1::GuardDone { result })) => Ok(Outcome::Done { result }),
        Some(Answer::Mismatch(v1::GuardMismatch {})) => Ok(Outcome::Mismatch),
        None => Err(Status::internal("the leader gave no outcome")),
    }
}

impl GuardStore for RemoteGuards {
    fn apply<'a>(
        &'a self,
        scope: &'a str,
        key: Bytes,
        input: Input,
    ) -> BoxFuture<'a, Result<Outcome, Error>> {
        async move {
            let asked = self.ask(scope, key, input).await;
            asked.map_err(|status| Error::Remote {
                code: status.code(),
                reason: failure::reason_of(&status),
                message: status.message().to_owned(),
            })
        }
        .boxed()
    }
}
