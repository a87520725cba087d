use tokio::sync::watch;

use super::status::Failure;
use crate::delivery::shutting_down;

/// Says when streams have to end, and why; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Ending(watch::Receiver<Option<Failure>>);

impl Ending {
    /// An ending that is told by the sender, or comes when the sender is dropped.
    pub(crate) fn new() -> (watch::Sender<Option<Failure>>, Self) {
        let (sender, receiver) = watch::channel(None);
        (sender, Self(receiver))
    }

    /// Waits for it.
    pub(crate) async fn ended(&mut self) -> Failure {
        let told = self.0.wait_for(Option::is_some).await;
        let why = told.ok().and_then(|why| why.clone());
        why.unwrap_or_else(shutting_down)
    }
}
