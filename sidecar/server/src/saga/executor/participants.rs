use std::time::Duration;

use futures::future::BoxFuture;
use outrigger_core::saga::Outcome;

use crate::saga::participant::{Call, Caller, Endpoint, NotTried};

/// Whom steps and webhooks call.
pub trait Participants: Send + Sync + 'static {
    /// Makes one call and says how it ended, some time. Dropping the future gives it up.
    ///
    /// # Errors
    /// When the call was kept back. Nothing was sent then.
    fn call(&self, call: Call) -> BoxFuture<'static, Result<Outcome, NotTried>>;

    /// For how long calls there would be kept back; nothing, if one would be tried now.
    fn kept_back_for(&self, endpoint: &Endpoint) -> Option<Duration>;
}

impl Participants for Caller {
    fn call(&self, call: Call) -> BoxFuture<'static, Result<Outcome, NotTried>> {
        let caller = self.clone();
        Box::pin(async move { Self::call(&caller, &call).await })
    }

    fn kept_back_for(&self, endpoint: &Endpoint) -> Option<Duration> {
        Self::kept_back_for(self, endpoint)
    }
}
