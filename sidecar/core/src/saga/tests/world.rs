//! One saga with two owners that fight over it, a network that loses, repeats and keeps
//! calls, participants with a barrier, and people.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;

use super::{
    Planted, Shape, define,
    history::History,
    participant::{Mood, Participant, unsettled},
};
use crate::saga::{
    Call, Effect, ErrorClass, Input, Outcome, Phase, Record, Saga, StepIndex,
    definition::Mode,
    event::{Act, Event, Note, Start},
    owner::Lease,
    record::{Stage, Status},
    recovery::{self, plan},
};

/// How a saga ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum End {
    Completed,
    Undone,
    Parked,
}

pub(super) struct World<'a> {
    choices: &'a [u16],
    now_ms: u64,
    /// What is recorded, as the log store has it.
    store: Record,
    events: Vec<Event>,
    lease: Lease,
    announced: BTreeMap<(StepIndex, Phase), u32>,
    owners: [Owner; 2],
    network: Vec<Flight>,
    participants: Vec<Participant>,
    planted: Option<Planted>,
    /// Nothing goes wrong any more.
    calm: bool,
    /// The network repeats calls.
    repeats: bool,
}

#[derive(Default)]
struct Owner {
    saga: Option<Saga>,
    epoch: u64,
    append: Option<(u64, Vec<Event>)>,
}

struct Flight {
    call: Call,
    owner: usize,
    epoch: u64,
    /// The owner waits for its answer.
    awaited: bool,
    /// Until then.
    until_ms: u64,
}

type Checked<T = ()> = Result<T, String>;

impl<'a> World<'a> {
    pub(super) fn new(shape: &Shape, choices: &'a [u16], planted: Option<Planted>) -> Self {
        let definition = define(shape);
        let start = Start {
            saga: "s".to_owned(),
            definition: definition.name().to_owned(),
            version: definition.version(),
            input: Bytes::from_static(br#"{"order": 17}"#),
            start_at_ms: 1_000,
            deadline_at_ms: definition.deadline_ms().map(|ms| 1_000 + ms),
            parent: None,
        };
        let participants = (0..definition.steps().len()).map(|at| Participant {
            forgets_refusals: shape.forgets_refusals,
            stubborn: shape.stubborn == Some(at),
            ..Participant::default()
        });
        let participants = participants.collect();
        let mut store = Record::start(definition, start).unwrap();
        store.planted = planted;
        Self {
            choices,
            now_ms: 1_000,
            store,
            events: Vec::new(),
            lease: Lease::FREE,
            announced: BTreeMap::new(),
            owners: Default::default(),
            network: Vec::new(),
            participants,
            planted,
            calm: false,
            repeats: !shape.forgets_refusals,
        }
    }

    /// Runs the schedule, then a fair one, and judges the end.
    pub(super) fn run(mut self) -> Checked<End> {
        self.take_over(0)?;
        while let Some(act) = self.choose(16) {
            self.chaos(act)?;
        }
        let end = self.calm_down()?;
        // What was still on its way arrives.
        for flight in std::mem::take(&mut self.network) {
            self.at_participant(&flight.call, Mood::Willing);
        }
        self.judge(end)?;
        Ok(end)
    }

    fn choose(&mut self, of: usize) -> Option<usize> {
        let (first, rest) = self.choices.split_first()?;
        self.choices = rest;
        Some(usize::from(*first) % of.max(1))
    }

    fn chaos(&mut self, act: usize) -> Checked {
        let who = self.choose(2).unwrap_or(0);
        match act {
            0..=4 => {
                let Some(at) = self.choose(self.network.len()) else {
                    return Ok(());
                };
                let mood = match self.choose(12).unwrap_or(0) {
                    0..=5 => Mood::Willing,
                    6 => Mood::Refusing,
                    7 | 8 => Mood::Mute,
                    9 => Mood::Broken,
                    _ => Mood::Ongoing,
                };
                let again = self.choose(4) == Some(0) && self.repeats;
                self.deliver(at, mood, again)?;
            }
            5 => {
                if let Some(at) = self.choose(self.network.len()) {
                    self.stop_waiting(at)?;
                }
            }
            6..=9 => self.append(who)?,
            10 => {
                self.append(who)?;
                self.owners[who].saga = None;
            }
            11 => self.owners[who].saga = None,
            12 => self.take_over(who)?,
            13 => self.pass_time(who)?,
            14 => self.person()?,
            _ => self.catch_up(who, Input::Tick)?,
        }
        Ok(())
    }

    /// Nothing goes wrong any more; people resume what is parked, three times.
    fn calm_down(&mut self) -> Checked<End> {
        self.calm = true;
        let mut resumed = 0;
        for _ in 0..3_000 {
            let owns = |o: &Owner| o.saga.is_some() && o.epoch == self.lease.epoch;
            let Some(who) = self.owners.iter().position(owns) else {
                self.take_over(0)?;
                continue;
            };
            let epoch = self.lease.epoch;
            let awaited = |f: &Flight| f.awaited && (f.owner, f.epoch) == (who, epoch);
            if self.owners[who].append.is_some() {
                self.append(who)?;
            } else if let Some(at) = self.network.iter().position(awaited) {
                self.deliver(at, Mood::Willing, false)?;
            } else if self.knows_less(who) {
                self.catch_up(who, Input::Tick)?;
            } else {
                match self.store.status() {
                    Status::Completed => return Ok(End::Completed),
                    Status::Undone => return Ok(End::Undone),
                    Status::Parked { .. } if resumed == 3 => return Ok(End::Parked),
                    Status::Parked { .. } => {
                        resumed += 1;
                        self.by_hand(Act::Resume)?;
                    }
                    Status::Working(_) => self.pass_time(who)?,
                }
            }
        }
        Err(self.told("it does not end"))
    }

    fn knows_less(&self, who: usize) -> bool {
        let known = self.owners[who]
            .saga
            .as_ref()
            .map(|s| s.record().sequence());
        known != Some(self.store.sequence())
    }

    fn take_over(&mut self, who: usize) -> Checked {
        // As if the other one had been silent; it may still believe that it is the owner.
        self.lease = self.lease.taken_over(u64::MAX, 0).unwrap();
        let saga = Saga::recover(self.store.clone());
        self.owners[who] = Owner {
            saga: Some(saga),
            epoch: self.lease.epoch,
            append: None,
        };
        self.step(who, Input::Tick)
    }

    fn step(&mut self, who: usize, input: Input) -> Checked {
        let Some(saga) = &mut self.owners[who].saga else {
            return Ok(());
        };
        let mut effects = Vec::new();
        let random = self.now_ms.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let stepped = saga.step(self.now_ms, random, input, &mut effects);
        stepped.map_err(|error| error.to_string())?;
        for effect in effects {
            match effect {
                Effect::Append { after, events } => {
                    if self.owners[who].append.is_some() {
                        return Err("two appends at once".to_owned());
                    }
                    self.owners[who].append = Some((after, events));
                }
                Effect::Call(call) => self.send(who, call)?,
                Effect::Deliver { .. } => return Err("nothing to deliver".to_owned()),
            }
        }
        Ok(())
    }

    fn send(&mut self, who: usize, call: Call) -> Checked {
        let (step, phase) = (call.step, call.phase);
        let announced = self.announced.get(&(step, phase)).copied();
        if announced.is_none_or(|attempt| call.attempt > attempt) {
            return Err(format!("sent before it was durable: {call:?}"));
        }
        if phase == Phase::Undo {
            if let Some(objection) = self.history().objects_to_undo(step) {
                return Err(format!("{objection}: {call:?}"));
            }
            let epoch = self.owners[who].epoch;
            let own = |f: &&Flight| f.awaited && (f.owner, f.epoch) == (who, epoch);
            let mut own = self.network.iter().filter(own);
            if own.any(|f| f.call.step == step && f.call.phase == Phase::Action) {
                return Err(format!("undone while its action is under way: {call:?}"));
            }
        }
        self.network.push(Flight {
            until_ms: self.now_ms + call.timeout_ms,
            call,
            owner: who,
            epoch: self.owners[who].epoch,
            awaited: true,
        });
        Ok(())
    }

    fn at_participant(&mut self, call: &Call, mood: Mood) -> Outcome {
        self.participants[usize::from(call.step)].call(call, mood)
    }

    fn deliver(&mut self, at: usize, mood: Mood, again: bool) -> Checked {
        let Some(flight) = self.network.get(at) else {
            return Ok(());
        };
        let (call, who, epoch) = (flight.call.clone(), flight.owner, flight.epoch);
        let awaited = flight.awaited;
        let outcome = self.at_participant(&call, mood);
        match again {
            true => self.network[at].awaited = false,
            false => drop(self.network.swap_remove(at)),
        }
        if awaited && self.owners[who].epoch == epoch {
            let (step, phase, attempt) = (call.step, call.phase, call.attempt);
            self.step(
                who,
                Input::Ended {
                    step,
                    phase,
                    attempt,
                    outcome,
                },
            )?;
        }
        Ok(())
    }

    /// The owner does not wait any more; the call stays on its way.
    fn stop_waiting(&mut self, at: usize) -> Checked {
        let Some(flight) = self.network.get_mut(at) else {
            return Ok(());
        };
        let awaited = std::mem::replace(&mut flight.awaited, false);
        let (who, epoch) = (flight.owner, flight.epoch);
        let (step, phase) = (flight.call.step, flight.call.phase);
        let attempt = flight.call.attempt;
        if !awaited || self.owners[who].epoch != epoch {
            return Ok(());
        }
        let outcome = unsettled(ErrorClass::TimedOut);
        self.step(
            who,
            Input::Ended {
                step,
                phase,
                attempt,
                outcome,
            },
        )
    }

    fn append(&mut self, who: usize) -> Checked {
        let Some((after, events)) = self.owners[who].append.take() else {
            return Ok(());
        };
        if self.lease.may_append(self.owners[who].epoch).is_err() {
            self.owners[who].saga = None;
            return Ok(());
        }
        if after != self.store.sequence() {
            return self.catch_up(who, Input::Refused);
        }
        for event in events {
            self.record(event)?;
        }
        self.catch_up(who, Input::Appended)
    }

    fn record(&mut self, event: Event) -> Checked {
        let applied = self.store.apply(&event);
        applied.map_err(|illegal| format!("{event:?}: {illegal}"))?;
        self.events.push(event);
        for (step, known) in (0..).zip(self.store.steps()) {
            if let crate::saga::record::StepState::Calling(phase) = known.state() {
                self.announced.insert((step, phase), known.attempt());
            }
        }
        self.check_recovery()
    }

    /// A crash is possible after every event: the record is read back as it was, and what
    /// is to be done follows from it alone and brings nothing about twice.
    fn check_recovery(&self) -> Checked {
        let mut read = Record::decode(Arc::clone(self.store.definition()), self.store.encode())
            .map_err(|error| error.to_string())?;
        read.planted = self.planted;
        if read != self.store {
            return Err(self.told("the record was read back as another one"));
        }
        let to_do =
            |record: &Record| plan(record.clone(), self.now_ms).map_err(|error| error.to_string());
        let first = to_do(&self.store)?;
        if first != to_do(&read)? {
            return Err("the plan is not the same twice".to_owned());
        }
        for event in &first.events {
            read.apply(event).map_err(|illegal| illegal.to_string())?;
        }
        let recovery::Plan { events, calls, .. } = to_do(&read)?;
        let kept = |call| calls.contains(call);
        if events.is_empty() && first.calls.iter().all(kept) {
            return Ok(());
        }
        Err(format!(
            "the plan changes: {first:?}, then {events:?} {calls:?}"
        ))
    }

    /// The owner hears what is recorded, if it still is the owner.
    fn catch_up(&mut self, who: usize, input: Input) -> Checked {
        if self.lease.may_append(self.owners[who].epoch).is_err() {
            return Ok(());
        }
        if self.owners[who].append.is_some() {
            return Ok(());
        }
        let Some(saga) = &mut self.owners[who].saga else {
            return Ok(());
        };
        for (sequence, event) in (1..).zip(&self.events) {
            let applied = saga.apply(sequence, event);
            applied.map_err(|error| error.to_string())?;
        }
        if *saga.record() != self.store {
            let (known, recorded) = (saga.record().steps(), self.store.steps());
            return Err(format!("{known:?} is known, {recorded:?} is recorded"));
        }
        self.step(who, input)
    }

    fn pass_time(&mut self, who: usize) -> Checked {
        let saga = self.owners[who].saga.as_ref();
        match saga.and_then(Saga::next_deadline) {
            Some(at_ms) => self.now_ms = self.now_ms.max(at_ms),
            None if self.calm => return Err(self.told("nothing to wait for")),
            None => self.now_ms += 1,
        }
        for at in 0..self.network.len() {
            if self.network[at].until_ms <= self.now_ms {
                self.stop_waiting(at)?;
            }
        }
        self.step(who, Input::Tick)
    }

    fn person(&mut self) -> Checked {
        let kind = self.choose(12).unwrap_or(0);
        let step = self.choose(self.participants.len()).unwrap_or(0);
        let step = StepIndex::try_from(step).unwrap();
        let phase = match self.store.status() {
            Status::Working(stage) | Status::Parked { stage, .. } => match stage {
                Stage::Forward => Phase::Action,
                Stage::Confirm => Phase::Confirm,
                Stage::Undo => Phase::Undo,
            },
            Status::Completed | Status::Undone => return Ok(()),
        };
        let output = Bytes::from_static(b"{\"id\":2}");
        let act = match kind {
            0..=2 => Act::Retry { step },
            3 => Act::Skip {
                step,
                phase,
                output,
            },
            4 | 5 => Act::EditInput {
                step,
                phase,
                input: output,
            },
            6 => Act::Undo,
            7 | 8 => Act::Park,
            _ => Act::Resume,
        };
        self.by_hand(act)
    }

    fn by_hand(&mut self, act: Act) -> Checked {
        let note = Note {
            by: "anna".to_owned(),
            reason: "looked into it".to_owned(),
        };
        let event = Event::ByHand { act, note };
        match self.store.check(&event) {
            Ok(()) => self.record(event),
            // People are told, and nothing changes.
            Err(_) => Ok(()),
        }
    }

    fn told(&self, what: &str) -> String {
        let (status, events) = (self.store.status(), &self.events);
        format!("{what}: {status:?} after {events:?}")
    }

    fn history(&self) -> History<'_> {
        History {
            definition: self.store.definition(),
            events: &self.events,
        }
    }

    fn judge(&self, end: End) -> Checked {
        let definition = self.store.definition();
        let history = self.history();
        for (step, participant) in (0..).zip(&self.participants) {
            let phases = [Phase::Action, Phase::Undo, Phase::Confirm];
            if phases.into_iter().any(|phase| history.skipped(step, phase)) {
                continue;
            }
            let pivot = definition.pivot() == Some(step);
            let undoable = definition.action(step, Phase::Undo).is_some();
            let confirmed = i64::from(end == End::Completed && definition.mode() == Mode::Tcc);
            let effect = match end {
                End::Parked => continue,
                End::Completed => 1,
                End::Undone if undoable || pivot => 0,
                // There is nothing to undo.
                End::Undone => participant.effect,
            };
            if (participant.effect, participant.confirmed) != (effect, confirmed) {
                let (is, confirms) = (participant.effect, participant.confirmed);
                let told =
                    format!("{end:?}, and step {step} has {is} effects, {confirms} confirmed");
                return Err(self.told(&told));
            }
        }
        Ok(())
    }
}
