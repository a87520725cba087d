use outrigger_core::lease::Event;
use outrigger_log::{Command, ConsumerGroupId, IndexEntry, Log, Outcome};

use super::Client;
use crate::{
    checker::{Ack, Delivery, Place},
    simulation::{
        call::{Answer, Call},
        scene::{KnownTopic, Scene, fingerprint, id_of},
    },
};

/// Messages that are leased together.
const LEASED_MAX: usize = 6;

/// Reads what is there and acknowledges it.
pub(in crate::simulation) struct Consumer {
    name: &'static str,
    group: ConsumerGroupId,
    /// Leased, and to be acknowledged with the call that is on its way.
    leased: Vec<Place>,
    call: Option<Call>,
    rest_until_ms: u64,
    next_queue: usize,
    /// Queues one after the other in which nothing was left.
    empty: usize,
}

/// What a node answers a consumer.
struct Found {
    next_offset: u64,
    entries: Vec<IndexEntry>,
    bodies: Vec<bytes::Bytes>,
}

impl Consumer {
    pub(in crate::simulation) fn new(name: &'static str, group: ConsumerGroupId) -> Self {
        Self {
            name,
            group,
            leased: Vec::new(),
            call: None,
            rest_until_ms: 0,
            next_queue: 0,
            empty: 0,
        }
    }

    fn queues(scene: &Scene) -> Vec<(KnownTopic, u32)> {
        let of = |topic: &KnownTopic| {
            let topic = topic.clone();
            (0..topic.queues).map(move |queue| (topic.clone(), queue))
        };
        scene.topics.iter().flat_map(of).collect()
    }

    fn lease(&mut self, scene: &mut Scene) {
        let queues = Self::queues(scene);
        let nodes = scene.world.nodes();
        // Whoever says that it may answer reads must know all that anybody was told.
        let Some(node) = scene.any(&nodes) else {
            return;
        };
        let Some((topic, queue)) = queues.get(self.next_queue % queues.len().max(1)).cloned()
        else {
            return;
        };
        let group = self.group;
        let found = scene.world.with_log(node, |log| {
            let may_answer = log.leadership().borrow().is_leading() && log.has_lease();
            may_answer.then(|| find(log, group, &topic, queue))
        });
        let found = match found.flatten() {
            None => return,
            Some(Ok(found)) => found,
            Some(Err(error)) => return self.failed(scene, node, &error),
        };
        let told = scene.told(topic.id, queue);
        if found.next_offset < told {
            scene.problem(format!(
                "node {node} answered a read of {}/{queue} with {} messages, {told} were known",
                topic.name, found.next_offset
            ));
        }
        self.next_queue += 1;
        if found.entries.is_empty() {
            self.empty += 1;
            return;
        }
        self.empty = 0;
        let mut events = Vec::new();
        let leased_at_ms = scene.now_ms();
        for (entry, body) in found.entries.iter().zip(&found.bodies) {
            let place = Scene::place(&topic, queue, entry.offset);
            scene.history.deliveries.push(Delivery {
                group: self.name.to_owned(),
                place: place.clone(),
                id: id_of(body),
                fingerprint: fingerprint(body),
                leased_at_ms,
            });
            // A handler fails now and then.
            if scene.chance(90) {
                self.leased.push(place);
                events.push(Event::Acked {
                    first: entry.offset,
                    last: entry.offset,
                });
            }
        }
        if !events.is_empty() {
            let progress = Command::Progress {
                group,
                topic: topic.id,
                queue,
                events,
            };
            self.call = Some(Call::new(scene, vec![progress]));
        }
    }

    fn failed(&mut self, scene: &mut Scene, node: u64, error: &str) {
        // The disk may have been told to fail; the same read succeeds then.
        self.rest_until_ms = scene.now_ms() + 20;
        let line = format!("node {node} could not answer a read: {error}");
        scene.world.trace().note(format_args!("{line}"));
        if scene.finishing {
            scene.problem(line);
        }
    }

    fn answered(&mut self, scene: &mut Scene, answer: Answer) {
        let leased = std::mem::take(&mut self.leased);
        let confirmed = match answer {
            Answer::Outcomes(outcomes) => match outcomes.first() {
                Some(Outcome::Applied) => true,
                other => {
                    scene.problem(format!("an ack was answered {other:?}"));
                    false
                }
            },
            Answer::Durable => true,
            Answer::Refused | Answer::Unknown => false,
        };
        if confirmed {
            let confirmed_at_ms = scene.now_ms();
            scene
                .history
                .acks
                .extend(leased.into_iter().map(|place| Ack {
                    group: self.name.to_owned(),
                    place,
                    confirmed_at_ms,
                }));
        }
    }
}

/// What the group has not acknowledged yet.
fn find(
    log: &Log,
    group: ConsumerGroupId,
    topic: &KnownTopic,
    queue: u32,
) -> Result<Found, String> {
    let (_, next_offset) = log.queue_bounds(topic.id, queue);
    let progress = log.progress(group, topic.id, queue);
    let mut entries = Vec::new();
    let from = progress.floor();
    log.index(topic.id, queue, from, 4 * LEASED_MAX, &mut entries)
        .map_err(|error| error.to_string())?;
    entries.retain(|entry| !progress.is_acked(entry.offset));
    entries.truncate(LEASED_MAX);
    let bodies = log.read(&entries).map_err(|error| error.to_string())?;
    Ok(Found {
        next_offset,
        entries,
        bodies,
    })
}

impl Client for Consumer {
    fn step(&mut self, scene: &mut Scene) {
        if let Some(call) = &mut self.call {
            if let Some(answer) = call.step(scene) {
                self.call = None;
                self.answered(scene, answer);
                self.rest_until_ms = scene.now_ms() + scene.pick(1..=20);
            }
            return;
        }
        if self.rest_until_ms <= scene.now_ms() {
            self.rest_until_ms = scene.now_ms() + scene.pick(1..=8);
            self.lease(scene);
        }
    }

    fn is_done(&self, scene: &Scene) -> bool {
        self.call.is_none() && self.empty >= Self::queues(scene).len()
    }

    fn look_again(&mut self) {
        self.empty = 0;
    }

    fn describe(&self) -> String {
        format!("consumer {}", self.name)
    }
}
