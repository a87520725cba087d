//! Moments of sagas that hardly ever come by chance, brought about step by step.

use std::io;

use outrigger_core::saga::{
    event::{Act, Event},
    ledger::{Answer, Command, OwnerId},
};
use outrigger_log::simulation::{PowerLoss, poll_now};
use rand::{Rng, SeedableRng, rngs::SmallRng};
use tokio::sync::oneshot;

use super::{Sagas, owner::Owner, people, wire::Submitted};
use crate::simulation::{directed::CHECKPOINT_MS_MAX, scene::Scene};

/// How long people work before anything is done, and between two moments.
const SETTLING_MS: u64 = 150;
/// What has not come by then does not come.
const MOMENT_MS_MAX: u64 = 10_000;
/// A process is held up for so long, unless the moment is over before.
const HELD_UP_MS: u64 = MOMENT_MS_MAX;
/// Machines without power are back after this time.
const OFF_MS: u64 = 5;
/// How long everybody takes to hear what has become of it.
const HEARING_MS: u64 = 300;
/// How often it is brought about in one world.
const TIMES: u32 = 3;
/// Events that are recorded together, where something must be done by hand for each of them.
const EVENTS_MAX: usize = 3;

/// A moment that is brought about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::simulation) enum Moment {
    /// What an owner wants to record is on its way until the owner's lease is over and somebody
    /// else has the saga. It arrives before the new owner has recorded anything, so that only
    /// the epoch says that it comes too late.
    LateAppend,
    /// What an owner wants to record is lost, and so is every answer about the saga. As many
    /// events are recorded by hand, they are written to checkpoints, and all nodes lose power.
    /// A node that has forgotten who recorded them lets the owner take them for its own.
    UnheardAct,
}

impl Moment {
    /// The moment of this seed: most have none.
    pub(in crate::simulation) fn of(seed: u64) -> Option<Self> {
        let mut choice = SmallRng::seed_from_u64(seed ^ 0x7361_6761);
        match choice.random_range(0..6) {
            0 => Some(Self::LateAppend),
            1 => Some(Self::UnheardAct),
            _ => None,
        }
    }
}

/// What becomes of a request of an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// What chance makes of it.
    Any,
    /// It is on its way until it is let go.
    Held,
    /// It never arrives.
    Lost,
}

/// The owner, the saga and the events that it is about.
struct Subject {
    owner: OwnerId,
    saga: String,
    epoch: u64,
    events: usize,
}

enum Step {
    /// People work.
    Settle { until_ms: u64 },
    /// The next events that fit are waited for.
    Look,
    /// The owner is held up; somebody else is to take the saga over.
    TakeOver,
    /// So many events were recorded by hand.
    Act {
        done: usize,
        answer: Option<oneshot::Receiver<Submitted>>,
    },
    /// Every node writes a checkpoint.
    Checkpoint { until_ms: u64 },
    /// No node has power.
    Off { until_ms: u64 },
    /// Somebody is to lead.
    Lead,
    /// The owner hears what has become of it.
    Hear { until_ms: u64 },
}

/// Brings a moment about.
pub(super) struct Directed {
    moment: Moment,
    step: Step,
    subject: Option<Subject>,
    left: u32,
    begin_ms: Option<u64>,
}

impl Directed {
    pub(super) fn new(moment: Moment) -> Self {
        Self {
            moment,
            step: Step::Settle { until_ms: 0 },
            subject: None,
            left: TIMES,
            begin_ms: None,
        }
    }

    /// Nobody else does anything by hand meanwhile.
    pub(super) fn is_undisturbed(&self) -> bool {
        self.moment == Moment::UnheardAct
    }

    /// What becomes of commands of an owner.
    pub(super) fn fate(&mut self, owner: OwnerId, commands: &[Command]) -> Fate {
        if !matches!(self.step, Step::Look) {
            return Fate::Any;
        }
        let Some(subject) = self.fits(owner, commands) else {
            return Fate::Any;
        };
        self.subject = Some(subject);
        match self.moment {
            Moment::LateAppend => {
                self.step = Step::TakeOver;
                Fate::Held
            }
            Moment::UnheardAct => {
                let (done, answer) = (0, None);
                self.step = Step::Act { done, answer };
                Fate::Lost
            }
        }
    }

    /// What becomes of a read of an owner.
    pub(super) fn fate_of_read(&self, owner: OwnerId, saga: &str) -> Fate {
        let same = |subject: &Subject| subject.owner == owner && subject.saga == saga;
        let deaf = match self.step {
            Step::Act { .. } | Step::Checkpoint { .. } | Step::Off { .. } | Step::Lead => true,
            Step::Settle { .. } | Step::Look | Step::TakeOver | Step::Hear { .. } => false,
        };
        match deaf && self.subject.as_ref().is_some_and(same) {
            true => Fate::Lost,
            false => Fate::Any,
        }
    }

    fn fits(&self, owner: OwnerId, commands: &[Command]) -> Option<Subject> {
        // What begins a saga would not be there without it.
        if commands
            .iter()
            .any(|command| matches!(command, Command::Start { .. }))
        {
            return None;
        }
        commands.iter().find_map(|command| {
            let Command::Append {
                saga,
                epoch,
                after: 1..,
                events,
            } = command
            else {
                return None;
            };
            let calls = |event: &Event| matches!(event, Event::Started { .. });
            let fits = match self.moment {
                Moment::LateAppend => true,
                Moment::UnheardAct => {
                    let few = events.len() <= EVENTS_MAX;
                    few && events.iter().any(calls) && !saga.contains('/')
                }
            };
            fits.then(|| Subject {
                owner,
                saga: saga.clone(),
                epoch: *epoch,
                events: events.len(),
            })
        })
    }

    /// One millisecond. False when it is over, or does not come.
    fn step(&mut self, sagas: &mut Sagas, scene: &mut Scene) -> io::Result<bool> {
        let now_ms = scene.now_ms();
        if self.begin_ms.is_none() {
            let moment = self.moment;
            scene.world.trace().note(format_args!("moment: {moment:?}"));
            self.step = settle(now_ms);
        }
        let begin_ms = *self.begin_ms.get_or_insert(now_ms);
        self.next(sagas, scene)?;
        let goes_on = self.left > 0 && now_ms < begin_ms + MOMENT_MS_MAX;
        if !goes_on {
            let over = if self.left > 0 {
                "does not come"
            } else {
                "is over"
            };
            scene.world.trace().note(format_args!("the moment {over}"));
            sagas.let_go(now_ms);
            for node in scene.world.nodes() {
                scene.world.start(node)?;
            }
        }
        Ok(goes_on)
    }

    fn next(&mut self, sagas: &mut Sagas, scene: &mut Scene) -> io::Result<()> {
        let now_ms = scene.now_ms();
        match &mut self.step {
            Step::Settle { until_ms } if *until_ms <= now_ms => self.step = Step::Look,
            Step::TakeOver => self.take_over(sagas, scene),
            Step::Act { .. } => self.act(sagas, scene),
            Step::Checkpoint { until_ms } if *until_ms <= now_ms => {
                for node in scene.world.nodes() {
                    scene.world.crash(node, PowerLoss::AllLost, false);
                }
                let until_ms = now_ms + OFF_MS;
                self.step = Step::Off { until_ms };
            }
            Step::Off { until_ms } if *until_ms <= now_ms => {
                for node in scene.world.nodes() {
                    scene.world.start(node)?;
                }
                self.step = Step::Lead;
            }
            Step::Lead if scene.world.leader().is_some() => self.step = hear(now_ms),
            Step::Hear { until_ms } if *until_ms <= now_ms => {
                sagas.let_go(now_ms);
                self.subject = None;
                self.left -= 1;
                self.step = settle(now_ms);
            }
            Step::Settle { .. }
            | Step::Look
            | Step::Checkpoint { .. }
            | Step::Off { .. }
            | Step::Lead
            | Step::Hear { .. } => {}
        }
        Ok(())
    }

    fn take_over(&mut self, sagas: &mut Sagas, scene: &mut Scene) {
        let Some(subject) = &self.subject else {
            return;
        };
        let mut owners = sagas.owners.iter_mut();
        if let Some(owner) = owners.find(|owner| owner.id() == Some(subject.owner))
            && !owner.is_paused(scene.now_ms())
        {
            owner.pause(scene, HELD_UP_MS);
        }
        if sagas.witness.latest(&subject.saga) > subject.epoch {
            let now_ms = scene.now_ms();
            sagas.let_errands_go(now_ms);
            self.step = hear(now_ms);
        }
    }

    fn act(&mut self, sagas: &mut Sagas, scene: &mut Scene) {
        let now_ms = scene.now_ms();
        let (Step::Act { done, answer }, Some(subject)) = (&mut self.step, &self.subject) else {
            return;
        };
        if let Some(awaited) = answer {
            let Some(answered) = poll_now(awaited) else {
                return;
            };
            let answered = answered
                .ok()
                .and_then(Result::ok)
                .and_then(|mut all| all.pop());
            if !matches!(answered, Some(Ok(Answer::Acted { .. }))) {
                // Not as the saga is, or nobody knows: this is not the moment.
                self.step = hear(now_ms);
                return;
            }
            *done += 1;
        }
        if *done == subject.events {
            let until_ms = now_ms + CHECKPOINT_MS_MAX;
            self.step = Step::Checkpoint { until_ms };
            return;
        }
        let act = match *done % 2 {
            0 => Act::Park,
            _ => Act::Resume,
        };
        let command = Command::Act {
            saga: subject.saga.clone(),
            act,
            note: people::note(),
        };
        *answer = Some(sagas.submit(scene, command));
    }
}

fn settle(now_ms: u64) -> Step {
    let until_ms = now_ms + SETTLING_MS;
    Step::Settle { until_ms }
}

fn hear(now_ms: u64) -> Step {
    let until_ms = now_ms + HEARING_MS;
    Step::Hear { until_ms }
}

impl Sagas {
    /// One millisecond before things go wrong by chance. False when there is no moment to bring
    /// about any more.
    pub(in crate::simulation) fn direct(&mut self, scene: &mut Scene) -> io::Result<bool> {
        let Some(mut directed) = self.directed.take() else {
            return Ok(false);
        };
        let goes_on = directed.step(self, scene)?;
        self.directed = goes_on.then_some(directed);
        Ok(goes_on)
    }

    /// Nothing and nobody is held up any more.
    fn let_go(&mut self, now_ms: u64) {
        self.let_errands_go(now_ms);
        self.owners.iter_mut().for_each(Owner::go_on);
    }

    fn let_errands_go(&mut self, now_ms: u64) {
        for errand in &mut self.errands {
            errand.let_go(now_ms);
        }
    }
}
