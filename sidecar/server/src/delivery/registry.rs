use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use outrigger_log::{ConsumerGroupId, TopicId};
use tokio::sync::{Notify, mpsc};

use super::{
    GroupInfo, Options, Store, TopicInfo,
    worker::{CALLS_WAITING_MAX, Call, Task, Worker},
};

/// The workers that run; cheap to clone.
#[derive(Clone)]
pub(super) struct Registry {
    store: Arc<dyn Store>,
    options: Options,
    workers: Arc<Mutex<Workers>>,
}

type Workers = BTreeMap<(ConsumerGroupId, TopicId), Arc<Worker>>;

impl Registry {
    pub(super) fn new(store: Arc<dyn Store>, options: Options) -> Self {
        Self {
            store,
            options,
            workers: Arc::default(),
        }
    }

    /// The one worker of a consumer group and topic; it is started if it does not run.
    pub(super) fn worker(&self, group: &GroupInfo, topic: &TopicInfo) -> Arc<Worker> {
        let mut workers = self.lock();
        let worker = workers.entry((group.id, topic.id)).or_insert_with(|| {
            let (calls, receiver) = mpsc::channel(CALLS_WAITING_MAX);
            let worker = Arc::new(Worker {
                topic: topic.clone(),
                calls,
                more_credits: Notify::new(),
            });
            let task = Task::new(
                Arc::clone(&self.store),
                self.options.clone(),
                Arc::clone(&worker),
                self.clone(),
                group.clone(),
            );
            tokio::spawn(task.run(receiver));
            worker
        });
        Arc::clone(worker)
    }

    /// The topics that a consumer group is receiving from now.
    pub(super) fn topics_of(&self, group: ConsumerGroupId) -> Vec<TopicId> {
        let of_group = (group, TopicId(0))..=(group, TopicId(u32::MAX));
        let workers = self.lock();
        workers
            .range(of_group)
            .map(|((_, topic), _)| *topic)
            .collect()
    }

    /// Takes a worker out, unless somebody else still has it or has called it. New ones are
    /// only given out under the same lock, so no call can get lost.
    pub(super) fn end(
        &self,
        group: ConsumerGroupId,
        worker: &Arc<Worker>,
        calls: &mpsc::Receiver<Call>,
    ) -> bool {
        let mut workers = self.lock();
        // The registry's and the worker's own.
        if Arc::strong_count(worker) > 2 || !calls.is_empty() {
            return false;
        }
        workers.remove(&(group, worker.topic.id));
        true
    }

    fn lock(&self) -> MutexGuard<'_, Workers> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
