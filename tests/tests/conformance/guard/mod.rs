//! Guards: what every store has to keep. The fake is the core's machine itself.

mod embedded;
mod fake;
mod redis;
mod suite;

use std::sync::Arc;

use outrigger::guards::GuardStore;

/// A place for guards, empty.
trait Backend: Sized + Send + Sync + 'static {
    async fn start() -> anyhow::Result<Self>;

    fn store(&self) -> Arc<dyn GuardStore>;
}

/// Runs every test of the suite on one implementation.
macro_rules! conformance {
    ($backend:ty: $($test:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() -> anyhow::Result<()> {
                let backend = <$backend as crate::guard::Backend>::start().await?;
                crate::guard::suite::$test(&backend).await
            }
        )*
    };
    ($backend:ty) => {
        crate::guard::conformance! { $backend:
            one_holder_at_a_time
            a_completed_guard_answers_with_its_result
            a_result_is_forgotten_after_its_ttl
            a_guard_whose_deadline_passed_is_taken_over
            a_late_holder_that_nobody_replaced_still_holds
            another_fingerprint_is_a_mismatch
            set_nx_remembers_who_holds_the_key_and_no_more
            attempts_are_counted
            every_scope_and_key_is_its_own_guard
            of_a_hundred_at_once_one_acquires
            random_calls_are_answered_as_the_machine_answers
        }
    };
}
use conformance;
