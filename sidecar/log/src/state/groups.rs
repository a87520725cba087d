//! Consumer groups and how far they have come.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use outrigger_core::lease::{Event, Progress};

use crate::command::{ConsumerGroupConfig, ConsumerGroupId, TopicId};

/// A consumer group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerGroup {
    /// Its number.
    pub id: ConsumerGroupId,
    /// Its name.
    pub name: String,
    /// How it consumes.
    pub config: ConsumerGroupConfig,
    /// When it was made, in milliseconds since the Unix epoch.
    pub created_at_ms: u64,
}

/// One queue as one consumer group sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct GroupQueue {
    pub(crate) group: ConsumerGroupId,
    pub(crate) topic: TopicId,
    pub(crate) queue: u32,
}

/// All consumer groups.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    all: Vec<Arc<ConsumerGroup>>,
    by_name: HashMap<String, ConsumerGroupId>,
    progress: BTreeMap<GroupQueue, Arc<Progress>>,
    /// Since the last checkpoint.
    dirty_groups: BTreeSet<ConsumerGroupId>,
    /// Since the last checkpoint.
    dirty_progress: BTreeSet<GroupQueue>,
}

impl Groups {
    pub(crate) fn get(&self, id: ConsumerGroupId) -> Option<&Arc<ConsumerGroup>> {
        self.all.get(id.0 as usize)
    }

    pub(crate) fn named(&self, name: &str) -> Option<ConsumerGroupId> {
        self.by_name.get(name).copied()
    }

    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// Makes a group whose name is not taken.
    pub(crate) fn create(
        &mut self,
        name: &str,
        config: ConsumerGroupConfig,
        stamp_ms: u64,
    ) -> Arc<ConsumerGroup> {
        let group = Arc::new(ConsumerGroup {
            id: ConsumerGroupId(self.all.len() as u32),
            name: name.to_owned(),
            config,
            created_at_ms: stamp_ms,
        });
        self.dirty_groups.insert(group.id);
        self.restore(Arc::clone(&group));
        group
    }

    /// Puts a group in as it was. Groups come in the order of their ids.
    pub(crate) fn restore(&mut self, group: Arc<ConsumerGroup>) {
        self.by_name.insert(group.name.clone(), group.id);
        self.all.push(group);
    }

    /// How far the group has come; nothing when it has not begun.
    pub(crate) fn progress(&self, queue: GroupQueue) -> Option<&Arc<Progress>> {
        self.progress.get(&queue)
    }

    /// The same, to be changed. A group that has not begun begins at the first offset.
    pub(crate) fn progress_mut(&mut self, queue: GroupQueue, first_offset: u64) -> &mut Progress {
        self.dirty_progress.insert(queue);
        let begun = || Arc::new(Progress::starting_at(first_offset));
        Arc::make_mut(self.progress.entry(queue).or_insert_with(begun))
    }

    /// Messages have expired: by topic and queue, the first offset that is left. What was
    /// before it counts as done.
    pub(crate) fn expire(&mut self, first_offsets: &BTreeMap<(TopicId, u32), u64>) {
        for (queue, progress) in &mut self.progress {
            let first = first_offsets.get(&(queue.topic, queue.queue)).copied();
            if let Some(last) = first.unwrap_or(0).checked_sub(1)
                && progress.floor() <= last
            {
                let gone = Event::Acked { first: 0, last };
                Arc::make_mut(progress).apply(&gone);
                self.dirty_progress.insert(*queue);
            }
        }
    }

    /// By topic and queue, before which offset every group is done. A queue that some group has
    /// not begun is left out: nobody knows whether that group is going to read it.
    pub(crate) fn done(&self) -> BTreeMap<(TopicId, u32), u64> {
        let mut begun = BTreeMap::new();
        for (queue, progress) in &self.progress {
            let place = (queue.topic, queue.queue);
            let (groups, least) = begun.entry(place).or_insert((0, u64::MAX));
            *groups += 1;
            *least = progress.floor().min(*least);
        }
        let by_all =
            |(place, (groups, least))| (groups == self.all.len()).then_some((place, least));
        begun.into_iter().filter_map(by_all).collect()
    }

    /// Puts progress in as it was.
    pub(crate) fn restore_progress(&mut self, queue: GroupQueue, progress: Progress) {
        self.progress.insert(queue, Arc::new(progress));
    }

    pub(crate) fn take_dirty_groups(&mut self) -> Vec<Arc<ConsumerGroup>> {
        let dirty = std::mem::take(&mut self.dirty_groups);
        let groups = dirty.into_iter().filter_map(|id| self.get(id).cloned());
        groups.collect()
    }

    pub(crate) fn take_dirty_progress(&mut self) -> Vec<(GroupQueue, Arc<Progress>)> {
        let dirty = std::mem::take(&mut self.dirty_progress);
        let progress = |queue| Some((queue, Arc::clone(self.progress.get(&queue)?)));
        dirty.into_iter().filter_map(progress).collect()
    }

    /// A checkpoint could not be written: what it took is still to be written.
    pub(crate) fn put_back(
        &mut self,
        groups: impl Iterator<Item = ConsumerGroupId>,
        progress: impl Iterator<Item = GroupQueue>,
    ) {
        self.dirty_groups.extend(groups);
        self.dirty_progress.extend(progress);
    }

    /// How many records no checkpoint has taken yet.
    pub(crate) fn unwritten(&self) -> u64 {
        (self.dirty_groups.len() + self.dirty_progress.len()) as u64
    }

    /// All groups, by id.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<ConsumerGroup>> {
        self.all.iter()
    }

    /// All progress, in order.
    pub(crate) fn iter_progress(&self) -> impl Iterator<Item = (&GroupQueue, &Arc<Progress>)> {
        self.progress.iter()
    }
}
