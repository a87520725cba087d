use outrigger_sdk::barrier::{Call, Error, Failure, FakeBarrier, Outcome};

use super::{Effect, OPENING_BALANCE, Participant, conformance};

/// The business on a balance in memory.
pub(super) async fn call(
    barrier: &FakeBarrier<i64>,
    call: &Call,
    effect: Effect,
) -> Result<Outcome, Error> {
    barrier
        .run(call, async |balance: &mut i64| match effect {
            Effect::Add(by) => {
                *balance += by;
                if *balance < 0 {
                    return Err(Failure::refused("overdrawn"));
                }
                Ok(balance.to_string())
            }
            Effect::AddAndFail(by) => {
                *balance += by;
                Err("broken".into())
            }
            Effect::Output(bytes) => Ok("x".repeat(bytes)),
        })
        .await
}

impl Participant for FakeBarrier<i64> {
    async fn start() -> anyhow::Result<Self> {
        Ok(Self::new(OPENING_BALANCE))
    }

    async fn call(&self, call: &Call, effect: Effect) -> Result<Outcome, Error> {
        self::call(self, call, effect).await
    }

    async fn balance(&self) -> anyhow::Result<i64> {
        Ok(self.state().await)
    }
}

conformance!(FakeBarrier<i64>);
