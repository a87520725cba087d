//! Which entries of the log are not needed any more.

use super::StateError;
use super::machine::{Context, Machine};
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
