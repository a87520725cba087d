//! Topics that lie in all data groups.

use outrigger_core::placement::{Placement, TopicHome};

/// Topics that are consumed, and their queues; with many data groups there are more of them.
pub const TOPICS: [(&str, u32); 2] = [("chaos-orders", 4), ("chaos-stock", 2)];
/// A topic that nobody consumes, for filling disks.
const BULK_TOPIC: (&str, u32) = ("chaos-bulk", 2);
/// Topics of which nobody keeps account, for seeing whether anybody is served.
const PROBE_TOPIC: (&str, u32) = ("chaos-probe", 1);

/// A topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// How many queues it has.
    pub queues: u32,
    /// Where it lies.
    pub data_group: u32,
}

/// The topics of a run.
#[derive(Clone, Debug)]
pub struct Topics {
    /// How many data groups there are.
    pub groups: u32,
    /// Those that are consumed; every data group has one at least.
    pub consumed: Vec<Topic>,
    /// One that nobody consumes, for filling disks.
    pub bulk: Topic,
    /// Those of which nobody keeps account, one in each data group.
    pub probes: Vec<Topic>,
}

impl Topics {
    /// For this number of data groups.
    ///
    /// # Errors
    ///
    /// When there cannot be so many.
    pub fn new(groups: u32) -> anyhow::Result<Self> {
        let placement = Placement::new(groups)?;
        let mut consumed: Vec<Topic> = Vec::new();
        let shapes = TOPICS
            .into_iter()
            .cycle()
            .take(TOPICS.len().max(groups as usize));
        for (shape, data_group) in shapes.zip((0..groups).cycle()) {
            let topic = named(placement, shape, data_group, &consumed);
            consumed.push(topic);
        }
        let (bulk, queues) = BULK_TOPIC;
        let home = match placement.topic(bulk) {
            TopicHome::One(data_group) => data_group,
            TopicHome::Every => 0,
        };
        let probes = (0..groups).map(|group| named(placement, PROBE_TOPIC, group, &[]));
        Ok(Self {
            groups,
            bulk: Topic {
                name: bulk.to_owned(),
                queues,
                data_group: home,
            },
            probes: probes.collect(),
            consumed,
        })
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Topic> {
        self.kept().chain(&self.probes)
    }

    /// Those of which account is kept.
    pub fn kept(&self) -> impl Iterator<Item = &Topic> {
        self.consumed.iter().chain([&self.bulk])
    }

    /// Where a message with this number goes; to the first topic twice as often as to others.
    pub(super) fn of(&self, number: u64) -> &str {
        let turn = number % (self.consumed.len() as u64 + 1);
        let turn = usize::try_from(turn).unwrap_or(0);
        let topic = self.consumed.get(turn).or(self.consumed.first());
        topic.map_or("", |topic| &topic.name)
    }
}

/// The first name, counted up, that lies in this data group and is not taken.
fn named(
    placement: Placement,
    (base, queues): (&str, u32),
    data_group: u32,
    taken: &[Topic],
) -> Topic {
    let mut name = base.to_owned();
    let mut number = 1;
    while placement.topic(&name) != TopicHome::One(data_group)
        || taken.iter().any(|topic| topic.name == name)
    {
        number += 1;
        name = format!("{base}-{number}");
    }
    Topic {
        name,
        queues,
        data_group,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_data_group_has_topics() {
        for groups in [1, 2, 3, 64] {
            let placement = Placement::new(groups).expect("a number of data groups");
            let topics = Topics::new(groups).expect("topics");
            for topic in topics.all() {
                assert_eq!(
                    placement.topic(&topic.name),
                    TopicHome::One(topic.data_group)
                );
            }
            for group in 0..groups {
                assert!(
                    topics
                        .consumed
                        .iter()
                        .any(|topic| topic.data_group == group)
                );
            }
            let mut names: Vec<_> = topics.all().map(|topic| &topic.name).collect();
            names.sort();
            names.dedup();
            assert_eq!(names.len(), topics.all().count());
        }
        let topics = Topics::new(1).expect("topics");
        let names = topics.consumed.iter().map(|topic| topic.name.as_str());
        assert!(names.eq(TOPICS.map(|(name, _)| name)));
    }
}
