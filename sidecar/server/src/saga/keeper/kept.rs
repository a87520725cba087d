use futures::future::BoxFuture;
use outrigger_core::saga::ledger::{Answer, Command, Defined, Filter, Page, View};

use crate::edge::status::Failure;

/// Where the sagas of one data group are kept: its log, and in tests a ledger in memory.
pub(crate) trait Kept: Clone + Send + Sync + 'static {
    /// Carries commands out in their order, and answers each when it is durable.
    fn submit(&self, commands: Vec<Command>) -> BoxFuture<'static, Result<Vec<Answer>, Failure>>;

    /// One saga.
    fn saga(&self, id: &str) -> Result<Option<View>, Failure>;

    /// Sagas in the order of their ids, from the first one after `after`.
    fn sagas(&self, filter: &Filter, after: &str, limit: usize) -> Result<Page, Failure>;

    /// All versions of one definition, or the latest version of every one.
    fn definitions(&self, name: Option<&str>) -> Vec<Defined>;
}
