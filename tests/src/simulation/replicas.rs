//! What every node has in the end.

use std::collections::BTreeMap;

use outrigger_log::Log;

use super::scene::{KnownTopic, Scene, fingerprint, id_of};
use crate::checker::{Applied, Queue, QueueName, Replica, Stored};

/// Messages that are read together.
const PAGE: usize = 64;

/// Reads all nodes. What cannot be read is a problem.
pub(super) fn collect(scene: &mut Scene) -> Vec<Replica> {
    let mut replicas = Vec::new();
    for node in scene.world.nodes() {
        let topics = scene.topics.clone();
        match scene.world.with_log(node, |log| read(log, node, &topics)) {
            Some(Ok(replica)) => replicas.push(replica),
            Some(Err(error)) => scene.problem(format!("node {node} cannot be read: {error}")),
            None => scene.problem(format!("node {node} does not run in the end")),
        }
    }
    replicas
}

fn read(log: &Log, node: u64, topics: &[KnownTopic]) -> Result<Replica, String> {
    let mut queues = BTreeMap::new();
    for topic in topics {
        for queue in 0..topic.queues {
            let name = QueueName {
                topic: topic.name.to_owned(),
                queue,
            };
            queues.insert(name, read_queue(log, topic, queue)?);
        }
    }
    let digest = log.digest().map_err(|error| error.to_string())?;
    let applied = Applied {
        index: log.status().applied_index,
        digest: digest.to_be_bytes().to_vec(),
    };
    Ok(Replica {
        node,
        queues,
        applied: [(log.data_group(), applied)].into(),
    })
}

fn read_queue(log: &Log, topic: &KnownTopic, queue: u32) -> Result<Queue, String> {
    let (first_offset, _) = log.queue_bounds(topic.id, queue);
    let mut messages: Vec<Stored> = Vec::new();
    loop {
        let from = messages.last().map_or(first_offset, |last| last.offset + 1);
        let mut entries = Vec::new();
        log.index(topic.id, queue, from, PAGE, &mut entries)
            .map_err(|error| error.to_string())?;
        if entries.is_empty() {
            return Ok(Queue {
                first_offset,
                messages,
            });
        }
        let bodies = log.read(&entries).map_err(|error| error.to_string())?;
        for (entry, body) in entries.iter().zip(&bodies) {
            messages.push(Stored {
                offset: entry.offset,
                id: id_of(body),
                fingerprint: fingerprint(body),
            });
        }
    }
}
