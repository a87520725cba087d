//! The barrier: what every database, Redis and the fake have to keep, with an account as the
//! participant's business.

mod fake;
mod mysql;
mod postgres;
mod redis;
mod sql;
mod sqlite;
mod suite;

use std::future::Future;

use outrigger_sdk::barrier::{Call, Error, Outcome};

/// What the account has in the beginning.
const OPENING_BALANCE: i64 = 100;

/// The participant's business.
#[derive(Clone, Copy, Debug)]
enum Effect {
    /// Adds to the balance, and answers it. Refuses with "overdrawn" when that is below
    /// zero, which is known only after the write.
    Add(i64),
    /// Adds to the balance, and fails after that.
    AddAndFail(i64),
    /// Answers so many bytes.
    Output(usize),
}

/// A participant with one account.
trait Participant: Sized + Send + Sync + 'static {
    async fn start() -> anyhow::Result<Self>;

    fn call(
        &self,
        call: &Call,
        effect: Effect,
    ) -> impl Future<Output = Result<Outcome, Error>> + Send;

    fn balance(&self) -> impl Future<Output = anyhow::Result<i64>> + Send;
}

/// What the rules of sagas allow, a participant can take.
#[test]
fn the_limits_of_sagas_are_within_those_of_the_barrier() -> anyhow::Result<()> {
    use outrigger_core::{limits, saga};
    use outrigger_sdk::barrier::{OUTPUT_MAX_BYTES, Phase};

    let step = "s".repeat(limits::SAGA_STEP_CHARACTERS_MAX);
    let root = "r".repeat(limits::SAGA_ID_CHARACTERS_MAX);
    saga::check_id("saga_id", &root)?;
    let deepest = (0..limits::SAGA_DEPTH_MAX).fold(root, |id, _| saga::child_id(&id, &step));
    Call::new(deepest, step, Phase::Action)?;
    assert!(OUTPUT_MAX_BYTES >= usize::try_from(limits::SAGA_PAYLOAD_BYTES_MAX)?);
    Ok(())
}

/// Runs every test of the suite on one implementation.
macro_rules! conformance {
    ($participant:ty: $($test:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() -> anyhow::Result<()> {
                let participant = <$participant as crate::barrier::Participant>::start().await?;
                crate::barrier::suite::$test(std::sync::Arc::new(participant)).await
            }
        )*
    };
    ($participant:ty) => {
        crate::barrier::conformance! { $participant:
            a_repeated_call_answers_the_same_and_does_nothing
            a_duplicate_is_decided_before_the_business_check
            an_undo_takes_back_once
            an_undo_without_an_action_does_nothing_and_the_action_is_too_late
            a_refusal_is_remembered
            a_refusal_does_not_let_the_action_in_after_the_undo
            a_refused_undo_is_called_again
            a_failed_call_leaves_nothing
            a_reservation_is_confirmed_or_cancelled_once
            nothing_is_confirmed_without_a_reservation
            calls_are_apart_by_every_byte
            an_output_has_a_limit
            a_saga_that_is_too_old_is_refused
            of_identical_calls_at_once_one_runs
            action_and_undo_at_once_end_undone
            a_call_given_up_anywhere_is_done_once_when_repeated
            random_calls_are_answered_as_the_fake_answers
            the_checks_for_applications_find_nothing
        }
    };
}
use conformance;
