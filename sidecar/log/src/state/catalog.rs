//! Topics and consumer groups for readers, who must not wait for the state machine.

use std::collections::HashMap;
use std::sync::Arc;

use super::groups::ConsumerGroup;
use super::topics::TopicQueues;
use crate::command::TopicId;

/// All topics and consumer groups. It only grows.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    topics: Vec<Arc<TopicQueues>>,
    topic_names: HashMap<String, Arc<TopicQueues>>,
    groups: Vec<Arc<ConsumerGroup>>,
    group_names: HashMap<String, Arc<ConsumerGroup>>,
}

impl Catalog {
    pub(crate) fn add_topic(&mut self, topic: Arc<TopicQueues>) {
        let name = topic.topic.name.clone();
        self.topic_names.insert(name, Arc::clone(&topic));
        self.topics.push(topic);
    }

    pub(crate) fn add_group(&mut self, group: Arc<ConsumerGroup>) {
        self.group_names
            .insert(group.name.clone(), Arc::clone(&group));
        self.groups.push(group);
    }

    pub(crate) fn topic(&self, id: TopicId) -> Option<&Arc<TopicQueues>> {
        self.topics.get(id.0 as usize)
    }

    pub(crate) fn topic_named(&self, name: &str) -> Option<&Arc<TopicQueues>> {
        self.topic_names.get(name)
    }

    /// By id.
    pub(crate) fn topics(&self) -> &[Arc<TopicQueues>] {
        &self.topics
    }

    pub(crate) fn group_named(&self, name: &str) -> Option<&Arc<ConsumerGroup>> {
        self.group_names.get(name)
    }

    /// By id.
    pub(crate) fn groups(&self) -> &[Arc<ConsumerGroup>] {
        &self.groups
    }
}
