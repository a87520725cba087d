//! The half-message protocol as a whole, explored exhaustively within small bounds.
//!
//! Two replicas of an application run the same transaction (the second one is a retry), two
//! sidecars check back, and everybody may crash between any two steps. A call that was
//! sent may arrive never, late, and as often as it likes. The log's half of the protocol is
//! the real machine; the fence table has the semantics of a unique index: an uncommitted
//! insert makes a second one wait, or time out, and a rollback removes it.
//!
//! Delivered if and only if committed; and whatever happened, one undisturbed check-back
//! leaves nothing unresolved. Each known mistake is planted once and must be found.

#![expect(
    clippy::indexing_slicing,
    reason = "a test; there are two of everything"
)]

use std::collections::{BTreeMap, VecDeque};

use outrigger_core::half_message::{Event, HalfMessage, Input, State as Recorded, Verdict};

/// What the application and the sidecars do, rightly or wrongly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Variant {
    /// As it must be.
    Right,
    /// As it must be, for an application that runs every transaction once: it may then say
    /// that it rolled back, without asking the fence.
    RollbackTold,
    /// Check-back reads the fence and takes an absent row for a rollback.
    SelectInsteadOfInsert,
    /// Check-back takes a lock timeout for a rollback.
    UnknownIsRollback,
    /// The application commits its effects first and puts up the fence then.
    FenceAfterCommit,
    /// The application puts up no fence.
    FenceMissing,
    /// The log delivers on every commit call.
    ResolveNotIdempotent,
    /// An application whose transactions are retried says that it rolled back, although
    /// the retry may commit.
    RollbackToldDespiteRetry,
}

impl Variant {
    fn replicas(self) -> usize {
        match self {
            Self::RollbackTold => 1,
            Self::Right
            | Self::SelectInsteadOfInsert
            | Self::UnknownIsRollback
            | Self::FenceAfterCommit
            | Self::FenceMissing
            | Self::ResolveNotIdempotent
            | Self::RollbackToldDespiteRetry => 2,
        }
    }

    fn tells_rollback(self) -> bool {
        matches!(self, Self::RollbackTold | Self::RollbackToldDespiteRetry)
    }

    /// Whether the fence is inserted within the local transaction, before anything else.
    fn fence_first(self) -> bool {
        !matches!(self, Self::FenceAfterCommit | Self::FenceMissing)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum App {
    Idle,
    /// Prepare is sent.
    Preparing,
    /// Prepare was answered.
    Prepared,
    /// In the local transaction.
    Working,
    /// The local transaction has committed.
    Committed,
    Done,
    Crashed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Sidecar {
    Idle,
    /// About to look at the fence.
    Checking,
    /// The insert found a row; about to read it.
    Reading,
    /// Knows the verdict; about to tell the log.
    Knows(Verdict),
}

/// The row of the transaction in the application's database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fence {
    Absent,
    /// Inserted by a replica whose local transaction still runs.
    Uncommitted(usize),
    Row(Verdict),
}

/// Calls that were sent: each may arrive any number of times from now on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Sent {
    prepare: [bool; 2],
    commit: bool,
    rollback: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct World {
    log: HalfMessage,
    /// How often the messages became visible; 2 stands for more.
    delivered: u8,
    /// Whose Prepare was answered.
    answered: [bool; 2],
    sent: Sent,
    fence: Fence,
    apps: [App; 2],
    /// Whose effects are committed.
    effects: [bool; 2],
    sidecars: [Sidecar; 2],
}

const FIRST: World = World {
    log: HalfMessage::absent(),
    delivered: 0,
    answered: [false; 2],
    sent: Sent {
        prepare: [false; 2],
        commit: false,
        rollback: false,
    },
    fence: Fence::Absent,
    apps: [App::Idle; 2],
    effects: [false; 2],
    sidecars: [Sidecar::Idle; 2],
};

impl World {
    fn committed(&self) -> bool {
        self.effects.contains(&true)
    }

    /// The log takes a call.
    fn call(&mut self, variant: Variant, input: Input) {
        let known = self.log.state().is_some();
        let commit = Input::Resolve {
            verdict: Verdict::Commit,
        };
        let event = self.log.step(input);
        let visible = Event::Resolved {
            verdict: Verdict::Commit,
        };
        let careless = variant == Variant::ResolveNotIdempotent && known && input == commit;
        if event == Ok(Some(visible)) || careless {
            self.delivered = (self.delivered + 1).min(2);
        }
    }

    /// Every state that one step leads to.
    fn next(&self, variant: Variant, out: &mut Vec<(&'static str, Self)>) {
        self.arrivals(variant, out);
        for replica in 0..variant.replicas() {
            self.app_steps(variant, replica, out);
        }
        for sidecar in 0..2 {
            self.sidecar_steps(variant, sidecar, out);
        }
        let mut by_hand = |name, input| {
            let mut next = *self;
            next.call(variant, input);
            out.push((name, next));
        };
        by_hand("a sidecar parks it", Input::Park);
        by_hand("a person resumes it", Input::Resume);
    }

    fn arrivals(&self, variant: Variant, out: &mut Vec<(&'static str, Self)>) {
        for replica in 0..2 {
            if self.sent.prepare[replica] {
                let mut next = *self;
                next.call(variant, Input::Prepare { fingerprint: 1 });
                out.push(("Prepare arrives, its answer is lost", next));
                next.answered[replica] = true;
                out.push(("Prepare arrives and is answered", next));
            }
        }
        for (sent, verdict, name) in [
            (self.sent.commit, Verdict::Commit, "Resolve(commit) arrives"),
            (
                self.sent.rollback,
                Verdict::Rollback,
                "Resolve(rollback) arrives",
            ),
        ] {
            if sent {
                let mut next = *self;
                next.call(variant, Input::Resolve { verdict });
                out.push((name, next));
            }
        }
    }

    fn app_steps(&self, variant: Variant, me: usize, out: &mut Vec<(&'static str, Self)>) {
        let mut to = |name, app, change: &dyn Fn(&mut Self)| {
            let mut next = *self;
            next.apps[me] = app;
            change(&mut next);
            out.push((name, next));
        };
        let unlock = |world: &mut Self| {
            if world.fence == Fence::Uncommitted(me) {
                world.fence = Fence::Absent;
            }
        };
        match self.apps[me] {
            App::Idle => to("an app sends Prepare", App::Preparing, &|world| {
                world.sent.prepare[me] = true;
            }),
            App::Preparing if self.answered[me] => {
                to(
                    "an app learns that Prepare is durable",
                    App::Prepared,
                    &|_| {},
                );
            }
            App::Preparing => to("an app gives up on Prepare", App::Done, &|_| {}),
            App::Prepared if !variant.fence_first() => {
                to("an app begins without a fence", App::Working, &|_| {});
            }
            App::Prepared => match self.fence {
                Fence::Absent => to("an app puts up the fence", App::Working, &|world| {
                    world.fence = Fence::Uncommitted(me);
                }),
                // It waits; or the database loses patience.
                Fence::Uncommitted(_) => to("an app's insert times out", App::Done, &|_| {}),
                Fence::Row(_) => to("an app finds a fence and aborts", App::Done, &|_| {}),
            },
            App::Working => {
                to("an app commits", App::Committed, &|world| {
                    world.effects[me] = true;
                    if variant.fence_first() {
                        world.fence = Fence::Row(Verdict::Commit);
                    }
                });
                to("an app rolls back", App::Done, &|world| {
                    unlock(world);
                    world.sent.rollback |= variant.tells_rollback();
                });
            }
            App::Committed => to("an app sends Resolve(commit)", App::Done, &|world| {
                if variant == Variant::FenceAfterCommit && world.fence == Fence::Absent {
                    world.fence = Fence::Row(Verdict::Commit);
                }
                world.sent.commit = true;
            }),
            App::Crashed => to("an app restarts and retries", App::Idle, &|world| {
                world.answered[me] = false;
            }),
            App::Done => {}
        }
        if !matches!(self.apps[me], App::Done | App::Crashed) {
            to("an app crashes", App::Crashed, &unlock);
        }
    }

    fn sidecar_steps(&self, variant: Variant, me: usize, out: &mut Vec<(&'static str, Self)>) {
        let mut to = |name, sidecar, change: &dyn Fn(&mut Self)| {
            let mut next = *self;
            next.sidecars[me] = sidecar;
            change(&mut next);
            out.push((name, next));
        };
        let rollback = Sidecar::Knows(Verdict::Rollback);
        match (self.sidecars[me], self.fence) {
            (Sidecar::Idle, _) if self.log.state() == Some(Recorded::Prepared) => {
                to("a sidecar begins to check back", Sidecar::Checking, &|_| {});
            }
            (Sidecar::Idle, _) => {}
            (Sidecar::Checking, fence) if variant == Variant::SelectInsteadOfInsert => {
                let verdict = match fence {
                    Fence::Row(verdict) => verdict,
                    Fence::Absent | Fence::Uncommitted(_) => Verdict::Rollback,
                };
                to(
                    "a sidecar reads the fence",
                    Sidecar::Knows(verdict),
                    &|_| {},
                );
            }
            (Sidecar::Checking, Fence::Absent) => {
                to("a sidecar's insert decides rollback", rollback, &|world| {
                    world.fence = Fence::Row(Verdict::Rollback);
                });
                to(
                    "a sidecar's insert decides, its answer is lost",
                    Sidecar::Idle,
                    &|world| {
                        world.fence = Fence::Row(Verdict::Rollback);
                    },
                );
            }
            (Sidecar::Checking, Fence::Uncommitted(_)) => {
                let answer = match variant {
                    Variant::UnknownIsRollback => rollback,
                    _ => Sidecar::Idle,
                };
                to("a sidecar's insert times out", answer, &|_| {});
            }
            (Sidecar::Checking, Fence::Row(_)) => {
                to("a sidecar's insert finds a row", Sidecar::Reading, &|_| {});
            }
            (Sidecar::Reading, Fence::Row(verdict)) => {
                to(
                    "a sidecar reads the decision",
                    Sidecar::Knows(verdict),
                    &|_| {},
                );
            }
            (Sidecar::Reading, Fence::Absent | Fence::Uncommitted(_)) => {
                to("a sidecar reads nothing", Sidecar::Idle, &|_| {});
            }
            (Sidecar::Knows(verdict), _) => {
                to(
                    "a sidecar sends its verdict",
                    Sidecar::Idle,
                    &|world| match verdict {
                        Verdict::Commit => world.sent.commit = true,
                        Verdict::Rollback => world.sent.rollback = true,
                    },
                );
            }
        }
        if self.sidecars[me] != Sidecar::Idle {
            to("a sidecar crashes", Sidecar::Idle, &|_| {});
        }
    }

    /// What is wrong, if anything.
    fn wrong(&self, variant: Variant) -> Option<&'static str> {
        if self.delivered > 1 {
            return Some("delivered twice");
        }
        if self.delivered > 0 && !self.committed() {
            return Some("delivered although not committed");
        }
        if self.log.state() == Some(Recorded::RolledBack) && self.committed() {
            return Some("dropped although committed");
        }
        if self.effects == [true, true] {
            return Some("the effects happened twice");
        }
        let over = |app: &App| matches!(app, App::Idle | App::Done | App::Crashed);
        if self.apps.iter().all(over) {
            return self.checked_back(variant).unfinished();
        }
        None
    }

    /// No more calls from anybody, but one check-back without disturbance.
    fn checked_back(mut self, variant: Variant) -> Self {
        self.call(variant, Input::Resume);
        if self.log.state() != Some(Recorded::Prepared) {
            return self;
        }
        let verdict = match self.fence {
            Fence::Row(verdict) => verdict,
            Fence::Absent | Fence::Uncommitted(_) => Verdict::Rollback,
        };
        self.call(variant, Input::Resolve { verdict });
        self
    }

    fn unfinished(&self) -> Option<&'static str> {
        match self.log.state() {
            Some(Recorded::Prepared | Recorded::Parked) => Some("left unresolved"),
            None if self.committed() => Some("committed without being prepared"),
            Some(Recorded::Committed) if self.delivered != 1 => Some("committed but lost"),
            Some(Recorded::RolledBack) if self.committed() => Some("dropped although committed"),
            None | Some(Recorded::Committed | Recorded::RolledBack) => None,
        }
    }
}

struct Explored {
    states: usize,
    /// The shortest way to something wrong.
    wrong: Option<(&'static str, Vec<&'static str>)>,
}

/// Breadth first, so that the way to a mistake is a shortest one.
fn explore(variant: Variant) -> Explored {
    let mut came_from = BTreeMap::from([(FIRST, None)]);
    let mut waiting = VecDeque::from([FIRST]);
    let mut next = Vec::new();
    while let Some(world) = waiting.pop_front() {
        if let Some(wrong) = world.wrong(variant) {
            let mut way = Vec::new();
            let mut at = world;
            while let Some(Some((name, before))) = came_from.get(&at) {
                way.push(*name);
                at = *before;
            }
            way.reverse();
            return Explored {
                states: came_from.len(),
                wrong: Some((wrong, way)),
            };
        }
        world.next(variant, &mut next);
        for (name, after) in next.drain(..) {
            came_from.entry(after).or_insert_with(|| {
                waiting.push_back(after);
                Some((name, world))
            });
        }
    }
    Explored {
        states: came_from.len(),
        wrong: None,
    }
}

#[test]
fn delivered_if_and_only_if_committed() {
    for variant in [Variant::Right, Variant::RollbackTold] {
        let explored = explore(variant);
        println!("{variant:?}: {} states", explored.states);
        assert_eq!(explored.wrong, None, "{variant:?}");
        assert!(explored.states > 1_000, "too little was explored");
    }
}

#[test]
fn every_known_mistake_is_found() {
    for (variant, expected) in [
        (Variant::SelectInsteadOfInsert, "dropped although committed"),
        (Variant::UnknownIsRollback, "dropped although committed"),
        (Variant::FenceAfterCommit, "dropped although committed"),
        (Variant::FenceMissing, "dropped although committed"),
        (Variant::ResolveNotIdempotent, "delivered twice"),
        (
            Variant::RollbackToldDespiteRetry,
            "dropped although committed",
        ),
    ] {
        let explored = explore(variant);
        println!(
            "{variant:?}: {} states, then {:#?}",
            explored.states, explored.wrong
        );
        let found = explored.wrong.map(|(wrong, _)| wrong);
        assert_eq!(found, Some(expected), "{variant:?}");
    }
}
