//! What goes wrong in a world, and when.

use std::collections::{BTreeMap, BTreeSet};

use outrigger_log::simulation::{Pace, PowerLoss, Weather};
use rand::seq::SliceRandom;

use super::scene::Scene;

/// A kind of fault. Every seed has its own selection of them, so that some runs are full of one
/// kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// One process ends.
    Crash,
    /// The leader's process ends.
    CrashLeader,
    /// All processes end.
    CrashAll,
    /// A leader whose disk is slow loses power, and is back at once.
    SlowLeaderLosesPower,
    /// A node that has just voted loses power, and is back at once.
    VoterLosesPower,
    /// A process is stopped for a while.
    Pause,
    /// The leader's process is stopped for a while.
    PauseLeader,
    /// One node is cut off.
    Isolate,
    /// Nothing gets through in one direction.
    OneWay,
    /// Streams break, frames are late.
    Weather,
    /// A stream breaks.
    BreakStream,
    /// A disk is slow.
    SlowDisk,
    /// A disk is full.
    FullDisk,
    /// A sync fails.
    FailSync,
    /// A read fails.
    FailRead,
    /// A clock is wrong.
    Clock,
    /// Leadership is handed over.
    Transfer,
}

const ALONE: [Fault; 8] = [
    Fault::Crash,
    Fault::CrashAll,
    Fault::Pause,
    Fault::SlowDisk,
    Fault::FullDisk,
    Fault::FailSync,
    Fault::FailRead,
    Fault::Clock,
];

const SEVERAL: [Fault; 17] = [
    Fault::Crash,
    Fault::CrashLeader,
    Fault::CrashAll,
    Fault::SlowLeaderLosesPower,
    Fault::VoterLosesPower,
    Fault::Pause,
    Fault::PauseLeader,
    Fault::Isolate,
    Fault::OneWay,
    Fault::Weather,
    Fault::BreakStream,
    Fault::SlowDisk,
    Fault::FullDisk,
    Fault::FailSync,
    Fault::FailRead,
    Fault::Clock,
    Fault::Transfer,
];

/// The time of a clock that is wrong, at most, in either direction.
const SKEW_MS_MAX: u64 = 3_000;
const SLOW: Pace = Pace {
    sync_min_ms: 20,
    sync_max_ms: 250,
    prepare_max_ms: 400,
};

/// What is to be done later.
#[derive(Clone, Copy, Debug)]
enum Later {
    Start(u64),
    /// The power fails, and comes back after so many milliseconds.
    LosePower(u64, u64),
    Unblock,
    FairWeather,
    FastDisk(u64),
    Room(u64),
}

/// Makes things go wrong.
pub(super) struct Faults {
    kinds: Vec<Fault>,
    /// The time between two faults is at most this.
    pause_max_ms: u64,
    next_at_ms: u64,
    later: Vec<(u64, Later)>,
    /// Nodes that may end by themselves, because their disks were told to fail.
    excused: BTreeSet<u64>,
    /// Nodes whose disks are full.
    full: BTreeSet<u64>,
    /// Waits for this node to vote: the vote that is known.
    watched_vote: Option<BTreeMap<u64, Option<(u64, u64)>>>,
    pub(super) count: u64,
}

impl Faults {
    pub(super) fn new(scene: &mut Scene) -> Self {
        let all: &[Fault] = match scene.world.nodes().len() {
            1 => &ALONE,
            _ => &SEVERAL,
        };
        let mut kinds = all.to_vec();
        kinds.shuffle(scene.world.random());
        let count = scene.pick(2..=6) as usize;
        kinds.truncate(count);
        let pause_max_ms = scene.pick(150..=900);
        scene.world.trace().note(format_args!("faults: {kinds:?}"));
        Self {
            kinds,
            pause_max_ms,
            next_at_ms: 0,
            later: Vec::new(),
            excused: BTreeSet::new(),
            full: BTreeSet::new(),
            watched_vote: None,
            count: 0,
        }
    }

    /// One millisecond in which things may go wrong.
    pub(super) fn step(&mut self, scene: &mut Scene) -> std::io::Result<()> {
        self.catch_up(scene)?;
        self.watch_votes(scene);
        if self.next_at_ms <= scene.now_ms() {
            self.next_at_ms = scene.now_ms() + scene.pick(20..=self.pause_max_ms);
            let kinds = self.kinds.clone();
            if let Some(fault) = scene.any(&kinds) {
                self.count += 1;
                scene.world.trace().note(format_args!("fault: {fault:?}"));
                self.inject(scene, fault);
            }
        }
        Ok(())
    }

    /// Does what was put off.
    pub(super) fn catch_up(&mut self, scene: &mut Scene) -> std::io::Result<()> {
        let now_ms = scene.now_ms();
        let (due, later) = std::mem::take(&mut self.later)
            .into_iter()
            .partition(|(at_ms, _)| *at_ms <= now_ms);
        self.later = later;
        let due: Vec<(u64, Later)> = due;
        for (_, what) in due {
            match what {
                Later::Start(node) => scene.world.start(node)?,
                Later::LosePower(node, off_ms) => {
                    let loss = power_loss(scene);
                    self.crash(scene, node, loss, off_ms);
                }
                Later::Unblock => scene.world.set_blocked(BTreeSet::new()),
                Later::FairWeather => scene.world.set_weather(Weather::FAIR),
                Later::FastDisk(node) => scene.world.set_pace(node, Pace::FAST),
                Later::Room(node) => {
                    self.full.remove(&node);
                    if let Some(disk) = scene.world.disk(node) {
                        disk.set_faults(|faults| faults.full = false);
                    }
                }
            }
        }
        Ok(())
    }

    /// A process has ended by itself: that is a mistake unless its disk was told to fail.
    pub(super) fn ended(&mut self, scene: &mut Scene, node: u64, reason: &str) {
        if !self.excused.remove(&node) && !self.full.contains(&node) {
            scene.problem(format!("node {node} ended by itself: {reason}"));
        }
        let after_ms = scene.pick(5..=800);
        self.later
            .push((scene.now_ms() + after_ms, Later::Start(node)));
    }

    /// Everything works from now on.
    pub(super) fn heal(&mut self, scene: &mut Scene) -> std::io::Result<()> {
        self.watched_vote = None;
        self.later.clear();
        scene.world.set_blocked(BTreeSet::new());
        scene.world.set_weather(Weather::FAIR);
        scene.lost_percent = 0;
        for node in scene.world.nodes() {
            scene.world.set_pace(node, Pace::FAST);
            scene.world.set_clock(node, 0, 1_000);
            if let Some(disk) = scene.world.disk(node) {
                disk.set_faults(|faults| {
                    *faults = outrigger_log::simulation::DiskFaults::default()
                });
            }
            scene.world.start(node)?;
        }
        Ok(())
    }

    fn crash(&mut self, scene: &mut Scene, node: u64, loss: PowerLoss, off_ms: u64) {
        if !scene.world.is_running(node) {
            return;
        }
        let silent = loss != PowerLoss::None && scene.chance(60);
        scene.world.crash(node, loss, silent);
        // With the process, what its disk was told is forgotten.
        self.excused.remove(&node);
        self.later
            .push((scene.now_ms() + off_ms, Later::Start(node)));
    }

    /// A node that has voted since it was looked last time loses power before it can sync.
    fn watch_votes(&mut self, scene: &mut Scene) {
        let Some(known) = self.watched_vote.take() else {
            return;
        };
        for (node, vote) in &known {
            if scene.world.is_running(*node) && scene.world.vote(*node) != *vote {
                let off_ms = scene.pick(1..=30);
                let at_ms = scene.now_ms() + scene.pick(0..=12);
                self.later.push((at_ms, Later::LosePower(*node, off_ms)));
                return;
            }
        }
        self.watched_vote = Some(known);
    }

    fn inject(&mut self, scene: &mut Scene, fault: Fault) {
        let nodes = scene.world.nodes();
        let Some(node) = scene.any(&nodes) else {
            return;
        };
        let leader = scene.world.leader().unwrap_or(node);
        let now_ms = scene.now_ms();
        match fault {
            Fault::Crash => self.lose(scene, node),
            Fault::CrashLeader => self.lose(scene, leader),
            Fault::CrashAll => {
                for node in nodes {
                    self.lose(scene, node);
                }
            }
            Fault::SlowLeaderLosesPower => {
                scene.world.set_pace(leader, SLOW);
                let at_ms = now_ms + scene.pick(10..=200);
                let off_ms = scene.pick(1..=60);
                self.later.push((at_ms, Later::LosePower(leader, off_ms)));
                self.later.push((at_ms, Later::FastDisk(leader)));
            }
            Fault::VoterLosesPower => {
                let votes = nodes.iter().map(|node| (*node, scene.world.vote(*node)));
                self.watched_vote = Some(votes.collect());
                for node in nodes {
                    scene.world.set_pace(node, SLOW);
                    self.later.push((now_ms + 1_500, Later::FastDisk(node)));
                }
                self.lose(scene, leader);
            }
            Fault::Pause => self.pause(scene, node),
            Fault::PauseLeader => self.pause(scene, leader),
            Fault::Isolate => {
                let node = if scene.chance(50) { leader } else { node };
                let others = nodes.iter().filter(|other| **other != node);
                let blocked = others.flat_map(|other| [(node, *other), (*other, node)]);
                scene.world.set_blocked(blocked.collect());
                self.unblock_later(scene);
            }
            Fault::OneWay => {
                let mut blocked = BTreeSet::new();
                for _ in 0..scene.pick(1..=3) {
                    let (from, to) = (scene.any(&nodes), scene.any(&nodes));
                    blocked.extend(from.zip(to));
                }
                scene.world.set_blocked(blocked);
                self.unblock_later(scene);
            }
            Fault::Weather => {
                let weather = Weather {
                    delay_min_ms: 0,
                    delay_max_ms: scene.pick(1..=40),
                    late_permille: scene.pick(0..=60) as u32,
                    break_permyriad: scene.pick(0..=60) as u32,
                };
                scene.world.set_weather(weather);
                scene.lost_percent = scene.pick(0..=10) as u32;
                let for_ms = scene.pick(300..=2_500);
                self.later.push((now_ms + for_ms, Later::FairWeather));
            }
            Fault::BreakStream => scene.world.break_a_stream(),
            Fault::SlowDisk => {
                scene.world.set_pace(node, SLOW);
                let for_ms = scene.pick(200..=2_000);
                self.later.push((now_ms + for_ms, Later::FastDisk(node)));
            }
            Fault::FullDisk => {
                if let Some(disk) = scene.world.disk(node) {
                    disk.set_faults(|faults| faults.full = true);
                }
                // A start may have to make a segment.
                self.full.insert(node);
                let for_ms = scene.pick(200..=2_000);
                self.later.push((now_ms + for_ms, Later::Room(node)));
            }
            Fault::FailSync => {
                self.excused.insert(node);
                if let Some(disk) = scene.world.disk(node) {
                    disk.set_faults(|faults| faults.fail_next_sync = true);
                }
            }
            Fault::FailRead => {
                self.excused.insert(node);
                if let Some(disk) = scene.world.disk(node) {
                    disk.set_faults(|faults| faults.fail_next_read = true);
                }
            }
            Fault::Clock => {
                let skew_ms = scene.pick(0..=2 * SKEW_MS_MAX) as i64 - SKEW_MS_MAX as i64;
                let rate = scene.pick(960..=1_040);
                scene.world.set_clock(node, skew_ms, rate);
            }
            Fault::Transfer => {
                let to = scene.chance(50).then_some(node);
                let asked = scene.world.spawn(leader, |log| async move {
                    // It may not lead any more.
                    let _ = log.transfer_leadership(to).await;
                });
                drop(asked);
            }
        }
    }

    fn lose(&mut self, scene: &mut Scene, node: u64) {
        let loss = power_loss(scene);
        let off_ms = match scene.chance(50) {
            true => scene.pick(1..=50),
            false => scene.pick(50..=1_500),
        };
        self.crash(scene, node, loss, off_ms);
    }

    fn pause(&mut self, scene: &mut Scene, node: u64) {
        let for_ms = scene.pick(20..=1_500);
        scene.world.pause(node, for_ms);
    }

    fn unblock_later(&mut self, scene: &mut Scene) {
        let for_ms = scene.pick(100..=2_500);
        self.later.push((scene.now_ms() + for_ms, Later::Unblock));
    }
}

fn power_loss(scene: &mut Scene) -> PowerLoss {
    let kinds = [
        PowerLoss::None,
        PowerLoss::AllLost,
        PowerLoss::AnySubset,
        PowerLoss::Torn,
    ];
    scene.any(&kinds).unwrap_or(PowerLoss::AllLost)
}
