use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::credits::{Credits, TooMany};
use crate::route::standing::Standing;

/// What the parts of one stream share.
#[derive(Debug)]
pub(super) struct Desk {
    credits: Mutex<Credits>,
    /// Calls each link when it has something to tell its data group.
    told: Vec<Notify>,
    /// Calls whoever holds messages back.
    pub(super) wanted: Notify,
    /// How the links are.
    pub(super) standing: Standing,
}

impl Desk {
    pub(super) fn new(links: usize, wanted_max: u32) -> Self {
        Self {
            credits: Mutex::new(Credits::new(links, wanted_max)),
            told: (0..links).map(|_| Notify::new()).collect(),
            wanted: Notify::new(),
            standing: Standing::new(links),
        }
    }

    /// The client wants more messages.
    pub(super) fn add(&self, count: u32) -> Result<(), TooMany> {
        self.credits().add(count)?;
        self.wanted.notify_one();
        self.call();
        Ok(())
    }

    pub(super) fn received(&self, link: usize, count: usize) {
        self.credits().received(link, number(count));
    }

    /// How many of `count` messages of a link the client may get now.
    pub(super) fn take(&self, link: usize, count: usize) -> usize {
        let taken = self.credits().take(link, number(count));
        self.call();
        taken as usize
    }

    /// A message of a link goes to nobody.
    pub(super) fn gone(&self, link: usize) {
        self.credits().gone(link, 1);
        self.call();
    }

    /// What a link has to tell its data group.
    pub(super) fn tell(&self, link: usize) -> u32 {
        self.credits().tell(link)
    }

    /// A link begins anew.
    pub(super) fn begin(&self, link: usize) {
        self.credits().begin(link);
        if let Some(told) = self.told.get(link) {
            told.notify_one();
        }
    }

    /// Waits until a link has something to tell.
    pub(super) async fn told(&self, link: usize) {
        match self.told.get(link) {
            Some(told) => told.notified().await,
            None => std::future::pending().await,
        }
    }

    fn call(&self) {
        self.told.iter().for_each(Notify::notify_one);
    }

    fn credits(&self) -> MutexGuard<'_, Credits> {
        // Nothing in there can panic half-way through a change.
        self.credits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
