//! The replicated log in simulated worlds: nothing is lost whatever goes wrong, one seed is one
//! world, and mistakes that are planted are noticed.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends with a panic"
)]

use std::sync::atomic::{AtomicU64, Ordering};

use outrigger_log::simulation::Plant;
use outrigger_tests::simulation::{Options, Verdict, run};

/// Threads that run worlds.
const THREADS: usize = 2;

/// Runs seeds on all threads; what is not good, or what ends the search.
fn first_failure(
    seeds: std::ops::Range<u64>,
    nodes: Option<u64>,
    plant: Option<Plant>,
) -> Option<Verdict> {
    let next = AtomicU64::new(seeds.start);
    let end = AtomicU64::new(seeds.end);
    let work = || {
        let mut failed = None;
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end.load(Ordering::Relaxed) {
                return failed;
            }
            let options = Options {
                seed,
                nodes,
                plant,
                ..Options::default()
            };
            let verdict = run(options).expect("the real file system works");
            if !verdict.is_good() {
                end.store(0, Ordering::Relaxed);
                failed = Some(verdict);
            }
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        let ended = threads.into_iter().map(|thread| thread.join());
        let failed = ended.filter_map(|ended| ended.expect("no run panics"));
        failed.min_by_key(|verdict| verdict.seed)
    })
}

fn replay(seed: u64) -> String {
    let end = seed + 1;
    format!("cargo run --release -p outrigger-tests --bin sim -- --seeds {seed}..{end} --verbose")
}

#[test]
fn nothing_is_lost_whatever_goes_wrong() {
    if let Some(verdict) = first_failure(0..200, None, None) {
        panic!("{verdict}\nreplay: {}", replay(verdict.seed));
    }
}

#[test]
fn one_seed_is_one_world() {
    for seed in [3, 11] {
        let options = Options {
            seed,
            keep_trace: true,
            ..Options::default()
        };
        let first = run(options).expect("the real file system works");
        let again = run(options).expect("the real file system works");
        assert_eq!(first.digest, again.digest, "seed {seed}");
        assert!(first.trace == again.trace, "seed {seed}");
        assert!(first.trace.lines().count() > 100, "seed {seed}");
    }
}

/// A mistake is noticed within so many seeds.
fn is_noticed(plant: Plant, nodes: Option<u64>, seeds: std::ops::Range<u64>) {
    let noticed = first_failure(seeds.clone(), nodes, Some(plant));
    assert!(noticed.is_some(), "{plant} was not noticed in {seeds:?}");
}

#[test]
fn an_entry_that_is_acknowledged_before_its_sync_is_noticed() {
    // Several nodes hardly ever lose the same entry at once.
    is_noticed(Plant::AckBeforeSync, Some(1), 0..40);
}

#[test]
fn an_entry_that_the_leader_alone_has_is_noticed() {
    is_noticed(Plant::LeaderAlone, None, 0..30);
}

#[test]
fn a_good_record_that_is_cut_is_noticed() {
    is_noticed(Plant::GoodRecordCut, None, 0..30);
}

#[test]
fn a_leader_that_goes_on_in_its_term_is_noticed() {
    is_noticed(Plant::LeaderRestore, None, 0..30);
}

#[test]
fn a_vote_that_is_given_before_its_sync_is_noticed() {
    is_noticed(Plant::VoteNotSynced, Some(3), 0..40);
}

#[test]
fn derived_state_that_is_ahead_of_the_log_is_noticed() {
    is_noticed(Plant::DerivedAhead, Some(3), 0..30);
}
