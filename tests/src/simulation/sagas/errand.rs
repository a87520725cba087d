//! A request to the node that leads: on its way, being worked on, or on its way back.

use std::fmt;

use outrigger::saga::store::Unavailable;
use outrigger_core::saga::ledger::{Answer, Command, OwnerId, View};
use outrigger_log::{Outcome, Pending, simulation::poll_now};
use tokio::{sync::oneshot, task::JoinHandle};

use super::{
    directed::Fate,
    wire::{Seen, Submitted},
    witness::Witness,
};
use crate::simulation::scene::Scene;

/// How long somebody waits for an answer.
const DEADLINE_MS: std::ops::RangeInclusive<u64> = 150..=900;
/// How long a request or an answer is on its way.
const WAY_MS: std::ops::RangeInclusive<u64> = 0..=3;
/// How long one is that arrives late, perhaps after nobody waits for it any more.
const LATE_MS: std::ops::RangeInclusive<u64> = 50..=1_600;

/// What is asked for, and who is told.
pub(super) enum What {
    Submit {
        commands: Vec<Command>,
        /// The epochs that were known when it arrived.
        epochs: Vec<u64>,
        answer: oneshot::Sender<Submitted>,
    },
    Read {
        saga: String,
        answer: oneshot::Sender<Seen>,
    },
}

impl What {
    pub(super) fn submit(commands: Vec<Command>, answer: oneshot::Sender<Submitted>) -> Self {
        Self::Submit {
            commands,
            epochs: Vec::new(),
            answer,
        }
    }
}

enum State {
    Outbound {
        at_ms: u64,
    },
    /// On its way until it is let go.
    Held,
    Committing(Pending),
    Reading(JoinHandle<Result<Option<View>, String>>),
    Inbound {
        at_ms: u64,
        brings: Brings,
    },
    /// The request or the answer was lost.
    Lost,
}

enum Brings {
    Answers(Vec<Answer>),
    View(Option<Box<View>>),
    /// Nobody knows, or nothing was taken.
    Nothing(String),
}

/// A request that is under way, or may still arrive.
pub(super) struct Errand {
    /// On whose behalf: an owner's, or a person's.
    from: Option<OwnerId>,
    node: u64,
    /// Nothing: nobody waits for it any more.
    what: What,
    is_awaited: bool,
    state: State,
    deadline_ms: u64,
}

impl Errand {
    /// Sends it to the leader, or to whom the sender takes for it. Nothing gets through when
    /// the sender is `cut_off`.
    pub(super) fn new(scene: &mut Scene, from: Option<OwnerId>, what: What, cut_off: bool) -> Self {
        let nodes = scene.world.nodes();
        let wrong = scene.chance(5);
        let leader = scene.world.leader().filter(|_| !wrong);
        let node = leader.or_else(|| scene.any(&nodes)).unwrap_or(1);
        let now_ms = scene.now_ms();
        let lost_percent = scene.lost_percent;
        let late = scene.chance(lost_percent);
        let way = if late { LATE_MS } else { WAY_MS };
        let at_ms = now_ms + scene.pick(way);
        let deadline_ms = now_ms + scene.pick(DEADLINE_MS);
        let state = match cut_off || scene.chance(lost_percent) {
            true => State::Lost,
            false => State::Outbound { at_ms },
        };
        Self {
            from,
            node,
            what,
            is_awaited: true,
            state,
            deadline_ms,
        }
    }

    /// Whose it is.
    pub(super) fn from(&self) -> Option<OwnerId> {
        self.from
    }

    /// It may still bring about a saga or change one, whether or not anybody waits for it.
    /// Those who only say that they are alive do so all the time, and do neither.
    pub(super) fn may_change_sagas(&self) -> bool {
        let What::Submit { commands, .. } = &self.what else {
            return false;
        };
        let changes = |command: &Command| !matches!(command, Command::Own { .. });
        let is_under_way = match self.state {
            State::Outbound { .. } | State::Held | State::Committing(_) => true,
            State::Reading(_) | State::Inbound { .. } | State::Lost => false,
        };
        is_under_way && commands.iter().any(changes)
    }

    /// One millisecond. False when nothing will come of it any more.
    pub(super) fn step(&mut self, scene: &mut Scene, witness: &mut Witness, cut_off: bool) -> bool {
        let now_ms = scene.now_ms();
        if self.is_awaited && now_ms >= self.deadline_ms {
            self.answer(scene, witness, Brings::Nothing("no answer".to_owned()));
        }
        match &mut self.state {
            State::Outbound { at_ms } => {
                if *at_ms <= now_ms && !scene.world.is_paused(self.node) {
                    self.state = self.arrive(scene, witness);
                }
            }
            State::Committing(pending) => {
                if let Some(answered) = poll_now(pending) {
                    let brings = match answered {
                        Ok(outcomes) => self.carried_out(scene, witness, outcomes),
                        Err(error) => Brings::Nothing(error.to_string()),
                    };
                    self.state = inbound(scene, brings);
                }
            }
            State::Reading(read) => {
                if let Some(read) = poll_now(read) {
                    let brings = match read {
                        Ok(Ok(view)) => Brings::View(view.map(Box::new)),
                        Ok(Err(error)) => Brings::Nothing(error),
                        Err(_) => Brings::Nothing("the node is down".to_owned()),
                    };
                    self.state = inbound(scene, brings);
                }
            }
            State::Inbound { at_ms, brings } => {
                if *at_ms <= now_ms {
                    let nothing = Brings::Nothing(String::new());
                    let brings = std::mem::replace(brings, nothing);
                    self.state = State::Lost;
                    if !cut_off && self.is_awaited {
                        self.answer(scene, witness, brings);
                    }
                }
            }
            State::Held | State::Lost => {}
        }
        match self.state {
            State::Lost => self.is_awaited,
            // It is carried out although nobody waits, and the world wants to know.
            State::Outbound { .. } | State::Held | State::Committing(_) => true,
            State::Reading(_) | State::Inbound { .. } => self.is_awaited,
        }
    }

    /// Nobody waits for it any more; it is on its way all the same.
    pub(super) fn abandon(&mut self) {
        self.is_awaited = false;
    }

    /// It never arrives, or not before it is let go.
    pub(super) fn meet(&mut self, fate: Fate) {
        match fate {
            Fate::Any => {}
            Fate::Held => self.state = State::Held,
            Fate::Lost => self.state = State::Lost,
        }
    }

    /// It arrives now, if it was held up.
    pub(super) fn let_go(&mut self, now_ms: u64) {
        if matches!(self.state, State::Held) {
            self.state = State::Outbound { at_ms: now_ms };
        }
    }

    fn arrive(&mut self, scene: &mut Scene, witness: &mut Witness) -> State {
        match &mut self.what {
            What::Submit {
                commands, epochs, ..
            } => {
                *epochs = witness.epochs(commands);
                witness.arrive(commands);
                let commands = commands.iter().cloned().map(Into::into).collect();
                match scene.world.submit(self.node, commands) {
                    Ok(pending) => State::Committing(pending),
                    Err(error) => inbound(scene, Brings::Nothing(error.to_string())),
                }
            }
            What::Read { saga, .. } => {
                let saga = saga.clone();
                let lease = scene.chance(70);
                let read = scene.world.spawn(self.node, move |log| async move {
                    if !(lease && log.has_lease()) {
                        let caught_up = log.read_barrier().await;
                        caught_up.map_err(|error| error.to_string())?;
                    }
                    log.saga(&saga).map_err(|error| error.to_string())
                });
                match read {
                    Some(read) => State::Reading(read),
                    None => inbound(scene, Brings::Nothing("the node is down".to_owned())),
                }
            }
        }
    }

    fn carried_out(
        &self,
        scene: &mut Scene,
        witness: &mut Witness,
        outcomes: Vec<Outcome>,
    ) -> Brings {
        let mut answers = Vec::new();
        for outcome in outcomes {
            match outcome {
                Outcome::Saga(answer) => answers.push(*answer),
                other => {
                    scene.problem(format!("a command about sagas was answered {other:?}"));
                    return Brings::Nothing("answered with something else".to_owned());
                }
            }
        }
        if let What::Submit {
            commands, epochs, ..
        } = &self.what
        {
            witness.carried_out(commands, epochs, &answers);
            for (command, answer) in commands.iter().zip(&answers) {
                note(scene, self.from, command, answer);
            }
        }
        Brings::Answers(answers)
    }

    /// Whoever waits is told.
    fn answer(&mut self, scene: &mut Scene, witness: &mut Witness, brings: Brings) {
        self.is_awaited = false;
        match (&mut self.what, brings) {
            (
                What::Submit {
                    commands, answer, ..
                },
                Brings::Answers(answers),
            ) => {
                if let Some(owner) = self.from {
                    witness.told(owner, commands, &answers);
                }
                let answers = answers.into_iter().map(|answer| match answer {
                    Answer::Refused(refusal) => Err(refusal.into()),
                    answer => Ok(answer),
                });
                send(answer, Ok(answers.collect()));
            }
            (What::Read { answer, .. }, Brings::View(view)) => {
                let view = view.map(|view| *view);
                if let Some(view) = &view {
                    witness.read(self.from, view);
                }
                send(answer, Ok(view));
            }
            (What::Submit { answer, .. }, brings) => {
                scene.world.trace().note(format_args!("{brings}"));
                send(answer, Err(unavailable()));
            }
            (What::Read { answer, .. }, brings) => {
                scene.world.trace().note(format_args!("{brings}"));
                send(answer, Err(unavailable()));
            }
        }
    }
}

impl fmt::Display for Brings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answers(_) => f.write_str("answers"),
            Self::View(_) => f.write_str("a saga"),
            Self::Nothing(why) => write!(f, "nobody knows: {why}"),
        }
    }
}

fn unavailable() -> Unavailable {
    Unavailable {
        reason: "nobody answers".to_owned(),
    }
}

/// Whoever has asked may be gone.
fn send<T>(to: &mut oneshot::Sender<T>, answer: T) {
    let (unused, _) = oneshot::channel();
    let _ = std::mem::replace(to, unused).send(answer);
}

fn inbound(scene: &mut Scene, brings: Brings) -> State {
    let lost_percent = scene.lost_percent;
    if scene.chance(lost_percent) {
        return State::Lost;
    }
    let at_ms = scene.now_ms() + scene.pick(WAY_MS);
    State::Inbound { at_ms, brings }
}

fn note(scene: &mut Scene, from: Option<OwnerId>, command: &Command, answer: &Answer) {
    let from = from.unwrap_or(0);
    let trace = scene.world.trace();
    match (command, answer) {
        (Command::Define { .. }, _) => {}
        (Command::Own { lease_ms, .. }, Answer::Owned { taken, .. }) => {
            if !taken.is_empty() || *lease_ms == 0 {
                trace.note(format_args!("{from:x} owns {taken:?}, lease {lease_ms}"));
            }
        }
        (
            Command::Append {
                saga,
                epoch,
                after,
                events,
            },
            answer,
        ) => trace.note(format_args!(
            "{from:x} appends to {saga} epoch {epoch} after {after} {events:?}: {answer:?}"
        )),
        (Command::Start { start, owner }, answer) => trace.note(format_args!(
            "{from:x} starts {} owner {owner:x?}: {answer:?}",
            start.saga
        )),
        (command, answer) => trace.note(format_args!("{from:x} {command:?}: {answer:?}")),
    }
}
