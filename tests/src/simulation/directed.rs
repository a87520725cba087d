//! Moments that hardly ever come by chance, brought about step by step.

use std::{collections::BTreeSet, io};

use outrigger_log::simulation::{Pace, PowerLoss};
use rand::{Rng, SeedableRng, rngs::SmallRng};

use super::scene::Scene;

/// How long the applications work before anything is done.
const SETTLING_MS: u64 = 200;
/// When the moment has not come by then, it does not come.
const MOMENT_MS_MAX: u64 = 6_000;
/// How often checkpoints are written where the moment needs one.
pub(super) const CHECKPOINT_MS: u64 = 300;
/// A checkpoint has been written after this time, if it waits for nothing.
pub(super) const CHECKPOINT_MS_MAX: u64 = 1_000;
/// A machine without power is back after this time.
const OFF_MS: u64 = 5;
/// How much is written before the moment is over.
const ENTRIES: u64 = 5;
/// How long the applications may take to write it.
const WRITING_MS_MAX: u64 = 2_500;
/// How long answers take to arrive.
const ANSWERS_MS: u64 = 50;
/// A disk whose syncs take so long that power can be cut before their end, and not so long that
/// nobody is elected.
const VOTING: Pace = Pace {
    sync_min_ms: 60,
    sync_max_ms: 90,
    prepare_max_ms: 10,
};
/// A disk whose syncs do not end.
const HELD: Pace = Pace {
    sync_min_ms: 60_000,
    sync_max_ms: 60_000,
    prepare_max_ms: 10,
};

/// A moment that is brought about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    /// Somebody is elected by a voter that loses power right after it has answered. The leader
    /// of the term before was cut off meanwhile, and is the first to find the voter again. If
    /// the voter has forgotten its vote, two leaders go on from the same entry.
    VoterLosesPower,
    /// A leader whose own log is not durable applies what the others have made durable, and
    /// loses power when it would have written a checkpoint of that.
    AppliedAheadOfLog,
}

impl Moment {
    /// The moment of this seed: most have none.
    pub(super) fn of(seed: u64, nodes: u64) -> Option<Self> {
        let mut choice = SmallRng::seed_from_u64(seed ^ 0x6d6f_6d65);
        match choice.random_range(0..6) {
            // With more nodes, one forgotten vote does not make a second majority.
            0 if nodes == 3 => Some(Self::VoterLosesPower),
            1 if nodes >= 3 => Some(Self::AppliedAheadOfLog),
            _ => None,
        }
    }
}

enum Step {
    /// The applications begin to work.
    Settle,
    /// The leader of this term is cut off; another one is to be elected.
    Elect { old: u64, term: u64 },
    /// The one that was elected is cut off, the voter has no power.
    Return {
        at_ms: u64,
        elected: u64,
        voter: u64,
    },
    /// The others write, from this entry on.
    Write {
        elected: u64,
        from: u64,
        until_ms: u64,
    },
    /// A leader applies what is not durable in its own log.
    RunAhead { leader: u64, since_ms: u64 },
    /// It has no power.
    Restart { at_ms: u64, leader: u64 },
    /// It is over at this time.
    Rest { until_ms: u64 },
}

/// Brings a moment about.
pub(super) struct Directed {
    moment: Moment,
    step: Step,
    begin_ms: u64,
}

impl Directed {
    pub(super) fn new(scene: &mut Scene, moment: Moment) -> Self {
        let begin_ms = scene.now_ms();
        scene.world.trace().note(format_args!("moment: {moment:?}"));
        Self {
            moment,
            step: Step::Settle,
            begin_ms,
        }
    }

    /// One millisecond. False when it is over, or does not come.
    pub(super) fn step(&mut self, scene: &mut Scene) -> io::Result<bool> {
        let next = self.next(scene)?;
        let passed_ms = scene.now_ms() - self.begin_ms;
        let goes_on = next && passed_ms < MOMENT_MS_MAX;
        if !goes_on {
            let over = if next { "does not come" } else { "is over" };
            scene.world.trace().note(format_args!("the moment {over}"));
            self.clean_up(scene)?;
        }
        Ok(goes_on)
    }

    fn clean_up(&self, scene: &mut Scene) -> io::Result<()> {
        scene.world.set_blocked(BTreeSet::new());
        for node in scene.world.nodes() {
            scene.world.set_pace(node, Pace::FAST);
            scene.world.start(node)?;
        }
        Ok(())
    }

    fn next(&mut self, scene: &mut Scene) -> io::Result<bool> {
        let now_ms = scene.now_ms();
        match self.step {
            Step::Settle => {
                if now_ms >= self.begin_ms + SETTLING_MS
                    && let Some(leader) = scene.world.leader()
                {
                    self.step = self.begin(scene, leader);
                }
            }
            Step::Elect { old, term } => {
                if let Some((elected, voter)) = elected_by(scene, old, term) {
                    cut_off(scene, &[old, elected]);
                    scene.world.crash(voter, PowerLoss::AllLost, false);
                    scene.world.set_pace(voter, Pace::FAST);
                    scene.world.set_pace(elected, Pace::FAST);
                    let at_ms = now_ms + OFF_MS;
                    self.step = Step::Return {
                        at_ms,
                        elected,
                        voter,
                    };
                }
            }
            Step::Return {
                at_ms,
                elected,
                voter,
            } => {
                if at_ms <= now_ms {
                    scene.world.start(voter)?;
                    cut_off(scene, &[elected]);
                    let nodes = scene.world.nodes();
                    let applied = nodes.iter().map(|node| applied(scene, *node));
                    self.step = Step::Write {
                        elected,
                        from: applied.max().unwrap_or(0),
                        until_ms: now_ms + WRITING_MS_MAX,
                    };
                }
            }
            Step::Write {
                elected,
                from,
                until_ms,
            } => {
                let leader = scene.world.leader().filter(|leader| *leader != elected);
                let written = leader.map_or(0, |leader| applied(scene, leader));
                if written >= from + ENTRIES || until_ms <= now_ms {
                    let until_ms = now_ms + ANSWERS_MS;
                    self.step = Step::Rest { until_ms };
                }
            }
            Step::RunAhead { leader, since_ms } => {
                let (_, durable) = scene.world.written_and_durable(leader);
                if applied(scene, leader) < durable + ENTRIES {
                    self.step = Step::RunAhead {
                        leader,
                        since_ms: now_ms,
                    };
                } else if since_ms + CHECKPOINT_MS_MAX <= now_ms {
                    scene.world.crash(leader, PowerLoss::AllLost, false);
                    scene.world.set_pace(leader, Pace::FAST);
                    let at_ms = now_ms + OFF_MS;
                    self.step = Step::Restart { at_ms, leader };
                }
            }
            Step::Restart { at_ms, leader } => {
                if at_ms <= now_ms {
                    scene.world.start(leader)?;
                    let until_ms = now_ms + ANSWERS_MS;
                    self.step = Step::Rest { until_ms };
                }
            }
            Step::Rest { until_ms } => return Ok(until_ms > now_ms),
        }
        Ok(true)
    }

    fn begin(&self, scene: &mut Scene, leader: u64) -> Step {
        match self.moment {
            Moment::VoterLosesPower => {
                for node in scene.world.nodes() {
                    if node != leader {
                        scene.world.set_pace(node, VOTING);
                    }
                }
                cut_off(scene, &[leader]);
                let term = scene.world.with_log(leader, |log| log.status().term);
                Step::Elect {
                    old: leader,
                    term: term.unwrap_or(0),
                }
            }
            Moment::AppliedAheadOfLog => {
                scene.world.set_pace(leader, HELD);
                Step::RunAhead {
                    leader,
                    since_ms: scene.now_ms(),
                }
            }
        }
    }
}

fn applied(scene: &Scene, node: u64) -> u64 {
    let applied = scene.world.with_log(node, |log| log.status().applied_index);
    applied.unwrap_or(0)
}

/// Nothing gets from these nodes to any other, nor back.
fn cut_off(scene: &mut Scene, alone: &[u64]) {
    let nodes = scene.world.nodes();
    let ways = alone.iter().flat_map(|node| {
        let others = nodes.iter().filter(move |other| *other != node);
        others.flat_map(move |other| [(*node, *other), (*other, *node)])
    });
    scene.world.set_blocked(ways.collect());
}

/// Who was elected after this term, and who else has voted for it.
fn elected_by(scene: &Scene, old: u64, term: u64) -> Option<(u64, u64)> {
    let world = &scene.world;
    let mut others = world.nodes();
    others.retain(|node| *node != old);
    others.iter().find_map(|node| {
        let status = world.with_log(*node, |log| log.status())?;
        if status.term <= term || status.leader != Some(*node) {
            return None;
        }
        let vote = Some((status.term, *node));
        let mut voters = others.iter().filter(|other| *other != node);
        let voter = voters.find(|other| world.vote(**other) == vote)?;
        Some((*node, *voter))
    })
}
