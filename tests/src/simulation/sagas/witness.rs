//! Who was told what: nobody may be told what cannot be, and nobody may do what it was not
//! told.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use outrigger::saga::participant::Call;
use outrigger_core::saga::{
    Definition, Phase, Record,
    definition::Version,
    event::Event,
    ledger::{Answer, Command, Held, OwnerId, View},
    record::{Status, StepState},
};

/// What stands in for the step in a delivery.
pub(super) const RESULT: &str = "result";

/// Watches over what owners are told and do.
pub(super) struct Witness {
    definitions: Arc<BTreeMap<Version, Arc<Definition>>>,
    /// What every saga is.
    kinds: BTreeMap<String, Version>,
    /// Who was given which epoch of which saga.
    given: BTreeMap<(String, u64), OwnerId>,
    /// The latest epoch that somebody was told of.
    latest: BTreeMap<String, u64>,
    /// The last thing that was done by hand to a saga while an epoch lasted: its number.
    acts: BTreeMap<(String, u64), u64>,
    /// The last event of a saga that somebody had seen who wanted to record others.
    seen: BTreeMap<String, u64>,
    /// The last attempt of which an owner was told that it is durable, by saga, step and phase.
    announced: BTreeMap<(OwnerId, String, String, Phase), u32>,
    /// Sagas of which an owner was told that they have ended.
    ended: BTreeSet<(OwnerId, String)>,
    /// What must not be.
    problems: Vec<String>,
    pub(super) appended: u64,
    pub(super) taken: u64,
    pub(super) refused: u64,
}

impl Witness {
    pub(super) fn new(definitions: Arc<BTreeMap<Version, Arc<Definition>>>) -> Self {
        Self {
            definitions,
            kinds: BTreeMap::new(),
            given: BTreeMap::new(),
            latest: BTreeMap::new(),
            acts: BTreeMap::new(),
            seen: BTreeMap::new(),
            announced: BTreeMap::new(),
            ended: BTreeSet::new(),
            problems: Vec::new(),
            appended: 0,
            taken: 0,
            refused: 0,
        }
    }

    pub(super) fn take_problems(&mut self) -> Vec<String> {
        std::mem::take(&mut self.problems)
    }

    /// The latest epoch of a saga that anybody was given.
    pub(super) fn latest(&self, saga: &str) -> u64 {
        self.latest.get(saga).copied().unwrap_or(0)
    }

    /// For every command the latest epoch of its saga that is known when it arrives.
    pub(super) fn epochs(&self, commands: &[Command]) -> Vec<u64> {
        let latest = |command: &Command| command.saga().map_or(0, |saga| self.latest(saga));
        commands.iter().map(latest).collect()
    }

    /// Commands arrive at a node.
    pub(super) fn arrive(&mut self, commands: &[Command]) {
        for command in commands {
            if let Command::Append { saga, after, .. } = command {
                let seen = self.seen.entry(saga.clone()).or_insert(0);
                *seen = (*seen).max(*after);
            }
        }
    }

    /// Commands were carried out, whoever hears of it. `epochs` were known when they arrived.
    pub(super) fn carried_out(&mut self, commands: &[Command], epochs: &[u64], answers: &[Answer]) {
        for ((command, known), answer) in commands.iter().zip(epochs).zip(answers) {
            match (command, answer) {
                (Command::Append { saga, epoch, .. }, Answer::Appended { .. }) => {
                    self.appended += 1;
                    if epoch < known {
                        self.problems.push(format!(
                            "saga {saga}: events were recorded with epoch {epoch}, which was over: \
                             {known} had been given"
                        ));
                    }
                }
                // The epoch had been given before it arrived.
                (Command::Act { saga, .. }, Answer::Acted { sequence, .. }) if *known > 0 => {
                    let last = self.acts.entry((saga.clone(), *known)).or_insert(0);
                    *last = (*last).max(*sequence);
                }
                (Command::Append { .. }, Answer::Refused(_)) => self.refused += 1,
                (Command::Start { start, owner }, Answer::Started { epoch, .. }) => {
                    self.kinds.insert(start.saga.clone(), start.version);
                    if let (Some(owner), 1..) = (owner, *epoch) {
                        self.give(&start.saga, *epoch, *owner);
                    }
                }
                (Command::Own { owner, .. }, Answer::Owned { taken, .. }) => {
                    for Held { saga, epoch } in taken {
                        self.taken += 1;
                        self.give(saga, *epoch, *owner);
                    }
                }
                _ => {}
            }
        }
    }

    fn give(&mut self, saga: &str, epoch: u64, owner: OwnerId) {
        let latest = self.latest.entry(saga.to_owned()).or_insert(0);
        *latest = (*latest).max(epoch);
        let before = self.given.insert((saga.to_owned(), epoch), owner);
        if before.is_some_and(|before| before != owner) {
            let problem = format!("saga {saga}: two owners were given epoch {epoch}");
            self.problems.push(problem);
        }
    }

    /// An owner hears what became of its commands.
    pub(super) fn told(&mut self, owner: OwnerId, commands: &[Command], answers: &[Answer]) {
        for (command, answer) in commands.iter().zip(answers) {
            if let (Command::Append { saga, events, .. }, Answer::Appended { .. }) =
                (command, answer)
            {
                for event in events {
                    self.announce(owner, saga, event);
                }
            }
        }
    }

    fn announce(&mut self, owner: OwnerId, saga: &str, event: &Event) {
        match event {
            Event::Started {
                step,
                phase,
                attempt,
                ..
            } => {
                let version = self.kinds.get(saga);
                let definition = version.and_then(|version| self.definitions.get(version));
                let step = definition.and_then(|definition| definition.step(*step));
                let step = step.map(|step| step.name.clone()).unwrap_or_default();
                self.announce_call(owner, saga, step, *phase, *attempt);
            }
            Event::Completed | Event::Undone => {
                self.ended.insert((owner, saga.to_owned()));
            }
            _ => {}
        }
    }

    fn announce_call(
        &mut self,
        owner: OwnerId,
        saga: &str,
        step: String,
        phase: Phase,
        attempt: u32,
    ) {
        let key = (owner, saga.to_owned(), step, phase);
        let known = self.announced.entry(key).or_insert(0);
        *known = (*known).max(attempt);
    }

    /// Somebody has read a saga; an owner, or a person.
    pub(super) fn read(&mut self, reader: Option<OwnerId>, view: &View) {
        let record: &Record = &view.record;
        let saga = &record.started().saga;
        self.kinds.insert(saga.clone(), record.started().version);
        if let Some(owner) = view.owner {
            self.give(saga, view.epoch, owner);
        }
        let act = self.acts.get(&(saga.clone(), view.epoch)).copied();
        let seen = self.seen.get(saga).copied().unwrap_or(0);
        if let Some(act) = act.filter(|act| *act > seen && *act <= view.seen()) {
            self.problems.push(format!(
                "saga {saga}: what was done by hand (event {act}) is taken for seen, and its owner \
                 has seen no more than event {seen}"
            ));
        }
        let Some(reader) = reader else {
            return;
        };
        for (step, known) in record.definition().steps().iter().zip(record.steps()) {
            if let StepState::Calling(phase) = known.state() {
                self.announce_call(reader, saga, step.name.clone(), phase, known.attempt());
            }
        }
        if matches!(record.status(), Status::Completed | Status::Undone) {
            self.ended.insert((reader, saga.clone()));
        }
    }

    /// An owner makes a call: it must have been told that this is durable.
    pub(super) fn calls(
        &mut self,
        owner: OwnerId,
        saga: &str,
        step: &str,
        phase: Phase,
        attempt: u32,
    ) {
        let key = (owner, saga.to_owned(), step.to_owned(), phase);
        let announced = self.announced.get(&key).copied().unwrap_or(0);
        if attempt > announced {
            self.problems.push(format!(
                "saga {saga}: attempt {attempt} of {step} ({phase:?}) was made when {announced} \
                 was the last that was known to be durable"
            ));
        }
    }

    /// An owner delivers a result: it must have been told that the saga has ended.
    pub(super) fn delivers(&mut self, owner: OwnerId, saga: &str) {
        if !self.ended.contains(&(owner, saga.to_owned())) {
            let problem = format!("saga {saga}: its result was delivered before it had ended");
            self.problems.push(problem);
        }
    }

    pub(super) fn makes(&mut self, owner: OwnerId, call: &Call) {
        match call.step.as_str() {
            RESULT => self.delivers(owner, &call.saga),
            step => self.calls(owner, &call.saga, step, call.phase, call.attempt),
        }
    }
}
