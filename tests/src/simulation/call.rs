//! A call of a client: on its way, being worked on, or on its way back.

use outrigger_log::{
    Command, Outcome, Pending, SubmitError,
    simulation::{Plant, poll_now},
};

use super::scene::Scene;

/// How long a client waits for an answer.
const DEADLINE_MS: std::ops::RangeInclusive<u64> = 200..=1_500;
/// How long a request or an answer is on its way.
const WAY_MS: std::ops::RangeInclusive<u64> = 0..=3;

/// What a client is told.
#[derive(Debug)]
pub(super) enum Answer {
    /// One outcome for each command.
    Outcomes(Vec<Outcome>),
    /// Everything is durable; what came of it is not said.
    Durable,
    /// Nothing was taken.
    Refused,
    /// Nobody knows.
    Unknown,
}

enum State {
    Outbound {
        at_ms: u64,
        commands: Vec<Command>,
    },
    Waiting {
        pending: Pending,
        written: Option<u64>,
    },
    Inbound {
        at_ms: u64,
        answer: Answer,
    },
    /// The request or the answer was lost.
    Lost,
}

/// A call that is not answered yet.
pub(super) struct Call {
    node: u64,
    state: State,
    deadline_ms: u64,
}

impl Call {
    /// Sends commands to the leader, or to whom the client takes for it.
    pub(super) fn new(scene: &mut Scene, commands: Vec<Command>) -> Self {
        let nodes = scene.world.nodes();
        let leader = scene
            .world
            .leader()
            .filter(|_| !scene.chance_of_a_wrong_guess());
        let node = leader.or_else(|| scene.any(&nodes)).unwrap_or(1);
        let now_ms = scene.now_ms();
        let at_ms = now_ms + scene.pick(WAY_MS);
        let deadline_ms = now_ms + scene.pick(DEADLINE_MS);
        let lost_percent = scene.lost_percent;
        let state = match scene.chance(lost_percent) {
            true => State::Lost,
            false => State::Outbound { at_ms, commands },
        };
        Self {
            node,
            state,
            deadline_ms,
        }
    }

    /// The answer, once it is there.
    pub(super) fn step(&mut self, scene: &mut Scene) -> Option<Answer> {
        let now_ms = scene.now_ms();
        if now_ms >= self.deadline_ms {
            // It may be on its way still.
            return Some(Answer::Unknown);
        }
        match &mut self.state {
            State::Outbound { at_ms, commands } => {
                if *at_ms <= now_ms && !scene.world.is_paused(self.node) {
                    let commands = std::mem::take(commands);
                    self.state = match scene.world.submit(self.node, commands) {
                        Ok(pending) => State::Waiting {
                            pending,
                            written: None,
                        },
                        Err(refusal) => refused(scene, refusal),
                    };
                }
                None
            }
            State::Waiting { pending, written } => {
                if let Some(answered) = poll_now(pending) {
                    self.state = match answered {
                        Ok(outcomes) => inbound(scene, Answer::Outcomes(outcomes)),
                        Err(SubmitError::OutcomeUnknown) => inbound(scene, Answer::Unknown),
                        Err(refusal) => refused(scene, refusal),
                    };
                } else if scene.plant == Some(Plant::LeaderAlone) {
                    let (last, durable) = scene.world.written_and_durable(self.node);
                    let written = *written.get_or_insert(last);
                    if durable >= written && scene.world.leader() == Some(self.node) {
                        self.state = inbound(scene, Answer::Durable);
                    }
                }
                None
            }
            State::Inbound { at_ms, answer } => {
                if *at_ms > now_ms {
                    return None;
                }
                Some(std::mem::replace(answer, Answer::Unknown))
            }
            State::Lost => None,
        }
    }
}

fn refused(scene: &mut Scene, refusal: SubmitError) -> State {
    scene.world.trace().note(format_args!("refused: {refusal}"));
    inbound(scene, Answer::Refused)
}

fn inbound(scene: &mut Scene, answer: Answer) -> State {
    let lost_percent = scene.lost_percent;
    if scene.chance(lost_percent) {
        return State::Lost;
    }
    let at_ms = scene.now_ms() + scene.pick(WAY_MS);
    State::Inbound { at_ms, answer }
}

impl Scene {
    fn chance_of_a_wrong_guess(&mut self) -> bool {
        self.chance(5)
    }
}
