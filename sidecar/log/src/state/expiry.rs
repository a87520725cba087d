//! Which entries of the log are not needed any more.

use std::io;

use outrigger_core::name::DEAD_LETTER_PREFIX;

use super::machine::{Context, Machine};
use super::{Shared, StateError};
use crate::apply::Expiry;
use crate::command::Outcome;

impl Machine {
    /// Raises the floor of the log as far as it may be, and lets messages below it go.
    ///
    /// The leader proposes what has expired. Since it looked, a message may have become a dead
    /// letter, so the bounds are looked at again: here everybody finds the same.
    pub(super) fn expire(&mut self, context: &Context, upto: u64) -> Result<Outcome, StateError> {
        let mut floor = upto.min(context.index.saturating_sub(1));
        if let Some(oldest) = self.oldest_needed()? {
            floor = floor.min(oldest.saturating_sub(1));
        }
        if floor > self.floor {
            self.floor = floor;
            let moved = self.topics.expire(floor)?;
            self.groups.expire(&moved);
        }
        Ok(Outcome::Applied)
    }

    /// The oldest entry that has the bytes of something that never expires: messages without a
    /// verdict, delayed messages, and dead letters.
    pub(super) fn oldest_needed(&self) -> Result<Option<u64>, StateError> {
        let needed = [
            self.transactions.oldest_place(),
            self.delayed.oldest_place(),
            self.topics.oldest_dead_letter()?,
        ];
        Ok(needed.into_iter().flatten().min())
    }
}

impl Shared {
    /// The oldest entry that has the bytes of a message that became visible at this instant or
    /// later, dead letters aside.
    fn oldest_visible(&self, since_ms: u64) -> Result<Option<u64>, StateError> {
        let mut oldest = None;
        for topic in self.all_queues() {
            if topic.topic.name.starts_with(DEAD_LETTER_PREFIX) {
                continue;
            }
            for queue in &topic.queues {
                if let Some(place) = queue.oldest_place(queue.visible_since(since_ms)?)? {
                    oldest = Some(oldest.map_or(place, |oldest: u64| oldest.min(place)));
                }
            }
        }
        Ok(oldest)
    }
}

impl Expiry for Shared {
    fn floor(&self) -> u64 {
        self.read(|machine| machine.floor)
    }

    fn expirable(&self, upto: u64, visible_since_ms: u64) -> io::Result<u64> {
        let visible = self.oldest_visible(visible_since_ms);
        let visible = visible.map_err(io::Error::other)?;
        let needed = self.read(Machine::oldest_needed);
        let needed = needed.map_err(io::Error::other)?;
        let oldest = visible.into_iter().chain(needed).min();
        Ok(oldest.map_or(upto, |oldest| upto.min(oldest.saturating_sub(1))))
    }
}
