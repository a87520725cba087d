//! The fence: what every database has to keep, with the sidecar's checker on one side and
//! an application's local transactions on the other.

mod collect;
mod fake;
mod mysql;
mod postgres;
mod sqlite;
mod suite;

use std::{future::Future, sync::Arc};

use outrigger::check_back::fence::{FenceChecker, FenceStore};
use uuid::Uuid;

/// The producer group that all checks here are made for.
const PRODUCER_GROUP: &str = "order-service";

/// The fence row was there already; the local transaction has been given up.
#[derive(Debug, PartialEq, Eq)]
struct Taken;

/// An application with a database, doing what the SDK's local transaction does.
trait Application: Sized + Send + Sync + 'static {
    type Transaction: Send;

    /// With an empty fence table.
    async fn start() -> anyhow::Result<Self>;

    /// The checker of one more sidecar on this database.
    fn sidecar(&self) -> anyhow::Result<Arc<dyn FenceChecker>>;

    /// The rows as the sidecar's collector sees them.
    fn store(&self) -> anyhow::Result<Arc<dyn FenceStore>>;

    /// Lets a row have been made so much earlier, by the database's clock.
    fn make_older(&self, id: Uuid, by_ms: u64) -> impl Future<Output = anyhow::Result<()>> + Send;

    /// Begins a local transaction with the fence row as its first statement.
    fn begin(
        &self,
        id: Uuid,
        payload: Option<&[u8]>,
    ) -> impl Future<Output = anyhow::Result<Result<Self::Transaction, Taken>>> + Send;

    fn commit(transaction: Self::Transaction) -> impl Future<Output = anyhow::Result<()>> + Send;

    fn rollback(transaction: Self::Transaction) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// Runs every test of the suite on one implementation.
macro_rules! conformance {
    ($application:ty: $($test:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() -> anyhow::Result<()> {
                let application = <$application as crate::fence::Application>::start().await?;
                crate::fence::suite::$test(application).await
            }
        )*
    };
    ($application:ty) => {
        crate::fence::conformance! { $application:
            an_absent_row_is_rolled_back_and_stays_so
            a_committed_row_commits_with_its_payload
            a_running_transaction_is_unknown_until_it_ends
            a_local_transaction_that_rolled_back_is_rolled_back
            the_application_cannot_insert_after_a_rollback
            two_sidecars_agree
            thousands_at_once
            application_and_sidecar_never_both_win
            old_rows_go_and_all_others_stay
            rows_of_waiting_transactions_stay_however_old
            rows_of_waiting_transactions_stay_whatever_the_clocks_say
            rows_of_other_data_groups_are_stepped_over
        }
    };
}
use conformance;

/// A unique violation means: decided already.
fn taken<T>(inserted: Result<T, sqlx::Error>) -> anyhow::Result<Result<T, Taken>> {
    match inserted {
        Ok(transaction) => Ok(Ok(transaction)),
        Err(sqlx::Error::Database(error)) if error.is_unique_violation() => Ok(Err(Taken)),
        Err(error) => Err(error.into()),
    }
}
