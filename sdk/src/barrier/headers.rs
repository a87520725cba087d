//! Calls as they arrive: in the headers of an HTTP request, in the properties of a message, or
//! in a gRPC request.

use std::time::{Duration, SystemTime};

use outrigger_proto::v1::{ParticipantCallRequest, SagaPhase};

use super::{Call, InvalidCall, Phase};

const SAGA_ID: &str = "outrigger-saga-id";
const STEP: &str = "outrigger-step";
const PHASE: &str = "outrigger-phase";
const ATTEMPT: &str = "outrigger-attempt";
const SAGA_STARTED_AT: &str = "outrigger-saga-started-at";

impl Call {
    /// The call that an HTTP request or a message asks for. `header` gives the value of a
    /// header, or of a property of a message, whose name it gets in lower case.
    ///
    /// ```
    /// use std::collections::HashMap;
    /// use outrigger_sdk::barrier::{Call, Phase};
    ///
    /// let headers = HashMap::from([
    ///     ("outrigger-saga-id", "saga-17"),
    ///     ("outrigger-step", "reserve-stock"),
    ///     ("outrigger-phase", "action"),
    ///     ("outrigger-attempt", "2"),
    ///     ("outrigger-saga-started-at", "1700000000000"),
    /// ]);
    /// let call = Call::from_headers(|name| headers.get(name).copied())?;
    /// assert_eq!(call.attempt_number(), 2);
    /// assert_eq!(call.to_string(), "saga-17/reserve-stock/action");
    /// # Ok::<(), outrigger_sdk::barrier::InvalidCall>(())
    /// ```
    ///
    /// # Errors
    ///
    /// When a header is missing or none that a saga sends. Answer it with 400: the saga calls
    /// again until a person looks at it.
    pub fn from_headers<'h>(header: impl Fn(&str) -> Option<&'h str>) -> Result<Self, InvalidCall> {
        let needed = |name| header(name).ok_or(InvalidCall::MissingHeader { name });
        let phase = needed(PHASE)?.parse()?;
        let call = Self::new(needed(SAGA_ID)?, needed(STEP)?, phase)?;
        let call = call.attempt(number(ATTEMPT, needed(ATTEMPT)?)?);
        // Sagas of a sidecar that does not say it are taken all the same.
        match header(SAGA_STARTED_AT) {
            Some(value) => Ok(call.started_at_ms(number(SAGA_STARTED_AT, value)?)),
            None => Ok(call),
        }
    }

    /// 0 says that it is not known.
    fn started_at_ms(self, started_at_ms: u64) -> Self {
        let at = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(started_at_ms));
        match at.filter(|_| started_at_ms > 0) {
            Some(at) => self.saga_started_at(at),
            None => self,
        }
    }
}

/// The call that a gRPC participant is asked for.
impl TryFrom<&ParticipantCallRequest> for Call {
    type Error = InvalidCall;

    fn try_from(request: &ParticipantCallRequest) -> Result<Self, InvalidCall> {
        let phase = match request.phase() {
            SagaPhase::Action => Phase::Action,
            SagaPhase::Undo => Phase::Undo,
            SagaPhase::Try => Phase::Try,
            SagaPhase::Confirm => Phase::Confirm,
            SagaPhase::Cancel => Phase::Cancel,
            SagaPhase::Unspecified => {
                let value = request.phase.to_string();
                return Err(InvalidCall::UnknownPhase { value });
            }
        };
        let call = Self::new(&request.saga_id, &request.step, phase)?;
        let call = call.attempt(request.attempt);
        Ok(call.started_at_ms(request.saga_started_at_ms))
    }
}

fn number<N: std::str::FromStr>(name: &'static str, value: &str) -> Result<N, InvalidCall> {
    value.parse().map_err(|_| InvalidCall::NotANumber {
        name,
        value: value.chars().take(32).collect(),
    })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use outrigger_proto::v1::{ParticipantCallRequest, SagaPhase};

    use crate::barrier::{Call, Error, FakeBarrier, InvalidCall, LONGEST_SAGA_DEFAULT};

    const HEADERS: [(&str, &str); 4] = [
        ("outrigger-saga-id", "order-17/deliver"),
        ("outrigger-step", "reserve"),
        ("outrigger-phase", "try"),
        ("outrigger-attempt", "3"),
    ];

    fn call(headers: &[(&str, &str)]) -> Result<Call, InvalidCall> {
        Call::from_headers(|name| headers.iter().find(|(n, _)| *n == name).map(|(_, v)| *v))
    }

    fn started(ago: Duration) -> (Call, Call) {
        let at = SystemTime::now() - ago;
        let at_ms = at.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let at_ms = u64::try_from(at_ms.as_millis()).unwrap();
        let mut headers = HEADERS.to_vec();
        let value = at_ms.to_string();
        headers.push(("outrigger-saga-started-at", &value));
        let request = ParticipantCallRequest {
            saga_id: "order-17/deliver".to_owned(),
            step: "reserve".to_owned(),
            phase: SagaPhase::Try.into(),
            attempt: 3,
            saga_started_at_ms: at_ms,
            ..ParticipantCallRequest::default()
        };
        (call(&headers).unwrap(), Call::try_from(&request).unwrap())
    }

    /// What the sidecar says about the age of a saga is what the barrier looks at.
    #[tokio::test]
    async fn a_call_of_a_saga_that_is_too_old_is_refused_however_it_comes() {
        let minute = Duration::from_secs(60);
        let barrier = FakeBarrier::new(());
        let (http, grpc) = started(LONGEST_SAGA_DEFAULT + minute);
        assert_eq!(http, grpc);
        for call in [http, grpc] {
            let error = barrier.run(&call, async |(): &mut ()| Ok("")).await;
            assert!(matches!(error, Err(Error::SagaTooOld { .. })), "{error:?}");
        }
        let (young, _) = started(LONGEST_SAGA_DEFAULT - minute);
        barrier
            .run(&young, async |(): &mut ()| Ok(""))
            .await
            .unwrap();
    }

    #[test]
    fn a_bad_header_is_named() {
        assert_eq!(
            call(&HEADERS).unwrap().to_string(),
            "order-17/deliver/reserve/try"
        );
        for missing in 0..HEADERS.len() {
            let mut headers = HEADERS.to_vec();
            let (name, _) = headers.remove(missing);
            assert_eq!(call(&headers), Err(InvalidCall::MissingHeader { name }));
        }
        for (at, value, problem) in [
            (0, "", "saga_id is empty"),
            (2, "do", "phase \"do\" is none of"),
            (3, "-1", "outrigger-attempt is \"-1\", which is no number"),
        ] {
            let mut headers = HEADERS.to_vec();
            headers[at].1 = value;
            let error = call(&headers).unwrap_err().to_string();
            assert!(error.contains(problem), "{error}");
        }
    }
}
