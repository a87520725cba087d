//! Which entries of the log are not needed any more.

use std::io;

use outrigger_core::name::DEAD_LETTER_PREFIX;

use super::machine::{Context, Machine};
use super::{Shared, StateError};
use crate::apply::Expiry;
use crate::command::{Outcome, TopicId};
use crate::queue_index::Queue;

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
    /// verdict, delayed ones, those for other data groups, and dead letters.
    pub(super) fn oldest_needed(&self) -> Result<Option<u64>, StateError> {
        let needed = [
            self.transactions.oldest_place(),
            self.delayed.oldest_place(),
            self.outgoing.oldest_place(),
            self.topics.oldest_dead_letter()?,
        ];
        Ok(needed.into_iter().flatten().min())
    }
}

impl Shared {
    /// How far the floor can be raised, `upto` at most, if every queue keeps what begins at an
    /// offset. Dead letters are kept anyway.
    fn bound(
        &self,
        upto: u64,
        from: impl Fn(TopicId, u32, &Queue) -> Result<u64, StateError>,
    ) -> Result<u64, StateError> {
        let mut oldest = self.read(Machine::oldest_needed)?;
        for topic in self.all_queues() {
            if topic.topic.name.starts_with(DEAD_LETTER_PREFIX) {
                continue;
            }
            for (queue, number) in topic.queues.iter().zip(0..) {
                let from = from(topic.topic.id, number, queue)?;
                if let Some(place) = queue.oldest_place(from)? {
                    oldest = Some(oldest.map_or(place, |oldest| oldest.min(place)));
                }
            }
        }
        Ok(oldest.map_or(upto, |oldest| upto.min(oldest.saturating_sub(1))))
    }
}

impl Expiry for Shared {
    fn floor(&self) -> u64 {
        self.read(|machine| machine.floor)
    }

    fn expirable(&self, upto: u64, visible_since_ms: u64) -> io::Result<u64> {
        let bound = self.bound(upto, |_, _, queue| {
            Ok(queue.visible_since(visible_since_ms)?)
        });
        bound.map_err(io::Error::other)
    }

    fn expirable_consumed(&self, upto: u64) -> io::Result<u64> {
        let done = self.read(|machine| machine.groups.done());
        let consumed = |topic, queue, index: &Queue| {
            let done = done.get(&(topic, queue)).copied();
            Ok(done.unwrap_or_else(|| index.first_offset()))
        };
        self.bound(upto, consumed).map_err(io::Error::other)
    }
}
