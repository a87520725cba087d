//! The commands of consumer groups.

use std::sync::PoisonError;

use outrigger_core::lease::{Event, Progress};
use outrigger_core::name::DEAD_LETTER_PREFIX;

use super::StateError;
use super::groups::GroupQueue;
use super::machine::{Context, Machine};
use crate::command::{
    ConsumerGroupConfig, ConsumerGroupId, Durability, Outcome, Refusal, StartFrom, TopicId,
};
use crate::queue_index::{Entry, Queue};

impl Machine {
    pub(super) fn create_group(
        &mut self,
        context: &Context,
        name: &str,
        config: ConsumerGroupConfig,
    ) -> Outcome {
        if let Some(id) = self.groups.named(name) {
            return Outcome::ConsumerGroup(id);
        }
        let limit = self.limits.consumer_groups_max;
        if self.groups.len() >= limit as usize {
            return Outcome::Refused(Refusal::TooManyGroups { limit });
        }
        let group = self.groups.create(name, config, context.stamp_ms);
        match group.config.start_from {
            StartFrom::First => {}
            StartFrom::Last => self.begin_at_the_end(group.id),
        }
        let id = group.id;
        let mut catalog = self.catalog.write().unwrap_or_else(PoisonError::into_inner);
        catalog.add_group(group);
        Outcome::ConsumerGroup(id)
    }

    /// Pins where the queues end now; topics that are made later are read from the start.
    fn begin_at_the_end(&mut self, group: ConsumerGroupId) {
        for (topic, record) in self.topics.iter() {
            for (&(_, next_offset), queue) in record.offsets.iter().zip(0..) {
                if next_offset > 0 {
                    let queue = GroupQueue {
                        group,
                        topic: topic.topic.id,
                        queue,
                    };
                    self.groups.progress_mut(queue, next_offset);
                }
            }
        }
    }

    pub(super) fn progress(
        &mut self,
        group: ConsumerGroupId,
        topic: TopicId,
        queue: u32,
        events: &[Event],
    ) -> Result<Outcome, Refusal> {
        let index = self.group_queue(group, topic, queue)?;
        let (first_offset, next_offset) = (index.first_offset(), index.next_offset());
        let last = |event: &Event| match *event {
            Event::Acked { last, .. } => last,
            Event::Retry { offset, .. } => offset,
        };
        if let Some(offset) = events.iter().map(last).find(|last| *last >= next_offset) {
            return Err(Refusal::UnknownOffset {
                topic,
                queue,
                offset,
            });
        }
        let place = GroupQueue {
            group,
            topic,
            queue,
        };
        let progress = self.groups.progress_mut(place, first_offset);
        for event in events {
            progress.apply(event);
        }
        Ok(Outcome::Applied)
    }

    pub(super) fn dead_letter(
        &mut self,
        context: &Context,
        group: ConsumerGroupId,
        topic: TopicId,
        queue: u32,
        offset: u64,
    ) -> Result<Outcome, StateError> {
        let index = match self.group_queue(group, topic, queue) {
            Ok(index) => index,
            Err(refusal) => return Ok(Outcome::Refused(refusal)),
        };
        let first_offset = index.first_offset();
        if offset < first_offset {
            // It has expired.
            return Ok(Outcome::Applied);
        }
        let Some(message) = index.get(offset)? else {
            return Ok(Outcome::Refused(Refusal::UnknownOffset {
                topic,
                queue,
                offset,
            }));
        };
        let place = GroupQueue {
            group,
            topic,
            queue,
        };
        let done = |progress: &Progress| progress.is_acked(offset);
        if self.groups.progress(place).is_some_and(|all| done(all)) {
            return Ok(Outcome::Applied);
        }
        let dead_letters = match self.dead_letter_topic(context, group) {
            Ok(topic) => topic,
            Err(refusal) => return Ok(Outcome::Refused(refusal)),
        };
        let entry = Entry {
            place: message.place,
            length: message.length,
            tag_hash: message.tag_hash,
            key_hash: message.key_hash,
            time_ms: context.stamp_ms,
        };
        self.topics.append(dead_letters, entry);
        let acked = Event::Acked {
            first: offset,
            last: offset,
        };
        self.groups.progress_mut(place, first_offset).apply(&acked);
        Ok(Outcome::Applied)
    }

    fn dead_letter_topic(
        &mut self,
        context: &Context,
        group: ConsumerGroupId,
    ) -> Result<TopicId, Refusal> {
        let known = self.groups.get(group);
        let known = known.ok_or(Refusal::UnknownGroup(group))?;
        let name = format!("{DEAD_LETTER_PREFIX}{}", known.name);
        self.create_topic(context, &name, 1, Durability::default())
    }

    /// The queue, when there is such a group and such a queue.
    fn group_queue(
        &self,
        group: ConsumerGroupId,
        topic: TopicId,
        queue: u32,
    ) -> Result<&Queue, Refusal> {
        if self.groups.get(group).is_none() {
            return Err(Refusal::UnknownGroup(group));
        }
        let known = self.topics.get(topic);
        let known = known.ok_or(Refusal::UnknownTopic(topic))?;
        let queues = known.topic.queues;
        let found = known.queues.get(queue as usize);
        found.ok_or(Refusal::UnknownQueue {
            topic,
            queue,
            queues,
        })
    }
}
