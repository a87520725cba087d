use std::{collections::BTreeMap, sync::Arc};

use outrigger_core::saga::{
    Definition, Phase, StepIndex,
    definition::{Delivery, Target, Version},
};

use super::lanes::LaneKey;
use crate::saga::participant::Endpoint;

/// Definitions whose addresses are remembered; beyond that all are read again.
const DEFINITIONS_MAX: usize = 1_024;

/// Where calls of one definition go.
pub(super) struct Targets {
    steps: Vec<[Option<Place>; 3]>,
    deliveries: Vec<Place>,
}

/// Where one call goes.
#[derive(Clone)]
pub(super) enum Place {
    Participant(Endpoint, LaneKey),
    Message {
        topic: String,
        tag: String,
    },
    Saga {
        definition: String,
        version: Version,
    },
    /// Nobody can be called there, and why.
    Nowhere(String),
}

impl Targets {
    fn new(definition: &Definition) -> Self {
        let phases = [Phase::Action, Phase::Undo, Phase::Confirm];
        let steps = (0..).zip(definition.steps()).map(|(at, step)| {
            phases.map(|phase| {
                let action = definition.action(at, phase)?;
                Some(place(&step.name, &action.target))
            })
        });
        let deliveries = definition.deliveries().iter().map(|to| match to {
            Delivery::Webhook { url } => participant(Endpoint::http("deliveries", url)),
            Delivery::Message { topic, tag } => Place::Message {
                topic: topic.clone(),
                tag: tag.clone(),
            },
        });
        Self {
            steps: steps.collect(),
            deliveries: deliveries.collect(),
        }
    }

    pub(super) fn of(&self, step: StepIndex, phase: Phase) -> Option<&Place> {
        let at = match phase {
            Phase::Action => 0,
            Phase::Undo => 1,
            Phase::Confirm => 2,
        };
        self.steps.get(usize::from(step))?.get(at)?.as_ref()
    }

    pub(super) fn deliveries(&self) -> &[Place] {
        &self.deliveries
    }
}

fn place(step: &str, target: &Target) -> Place {
    match target {
        Target::Http { url } => participant(Endpoint::http(step, url)),
        Target::Grpc { url, operation } => participant(Endpoint::grpc(step, url, operation)),
        Target::Message { topic, tag } => Place::Message {
            topic: topic.clone(),
            tag: tag.clone(),
        },
        Target::Saga {
            definition,
            version,
        } => Place::Saga {
            definition: definition.clone(),
            version: *version,
        },
    }
}

fn participant(endpoint: Result<Endpoint, crate::saga::participant::EndpointError>) -> Place {
    match endpoint {
        Ok(endpoint) => {
            let lane = LaneKey::of(&endpoint);
            Place::Participant(endpoint, lane)
        }
        Err(error) => Place::Nowhere(error.to_string()),
    }
}

/// The targets of the definitions that are in use.
#[derive(Default)]
pub(super) struct KnownTargets {
    known: BTreeMap<Version, Arc<Targets>>,
}

impl KnownTargets {
    pub(super) fn of(&mut self, definition: &Definition) -> Arc<Targets> {
        let version = definition.version();
        if let Some(targets) = self.known.get(&version) {
            return Arc::clone(targets);
        }
        if self.known.len() >= DEFINITIONS_MAX {
            self.known.clear();
        }
        let targets = Arc::new(Targets::new(definition));
        self.known.insert(version, Arc::clone(&targets));
        targets
    }
}
