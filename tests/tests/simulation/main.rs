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
fn first_failure(seeds: std::ops::Range<u64>, every: Options) -> Option<Verdict> {
    let next = AtomicU64::new(seeds.start);
    let end = AtomicU64::new(seeds.end);
    let work = || {
        let mut failed = None;
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end.load(Ordering::Relaxed) {
                return failed;
            }
            let options = Options { seed, ..every };
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

fn all_are_good(seeds: std::ops::Range<u64>, every: Options) {
    let Some(verdict) = first_failure(seeds, every) else {
        return;
    };
    let (seed, end) = (verdict.seed, verdict.seed + 1);
    let sagas = if every.sagas { " --sagas" } else { "" };
    panic!(
        "{verdict}\nreplay: cargo run --release -p outrigger-tests --bin sim -- --seeds \
         {seed}..{end}{sagas} --verbose"
    );
}

/// A world with sagas.
const SAGAS: Options = Options {
    seed: 0,
    nodes: None,
    plant: None,
    sagas: true,
    keep_trace: false,
};

#[test]
fn nothing_is_lost_whatever_goes_wrong() {
    all_are_good(0..200, Options::default());
}

#[test]
fn sagas_end_completed_or_undone_whatever_goes_wrong() {
    all_are_good(0..21, SAGAS);
    // A request to start a saga arrives after everybody has given up on it.
    all_are_good(143..144, SAGAS);
}

#[test]
fn one_seed_is_one_world() {
    for (seed, sagas) in [(3, false), (11, false), (1, true)] {
        let options = Options {
            seed,
            sagas,
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
    let every = Options {
        nodes,
        plant: Some(plant),
        ..Options::default()
    };
    let noticed = first_failure(seeds.clone(), every);
    assert!(noticed.is_some(), "{plant} was not noticed in {seeds:?}");
}

/// A mistake with sagas is noticed in this world, for this reason.
fn is_noticed_with_sagas(plant: Plant, seed: u64, reason: &str) {
    let plant = Some(plant);
    let options = Options {
        seed,
        plant,
        ..SAGAS
    };
    let verdict = run(options).expect("the real file system works");
    let problems = verdict.problems.join("\n");
    assert!(
        problems.contains(reason),
        "{plant:?} is noticed otherwise: {verdict}"
    );
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

#[test]
fn a_saga_that_two_owners_get_under_one_epoch_is_noticed() {
    let reason = "two owners were given epoch";
    is_noticed_with_sagas(Plant::EpochTwice, 0, reason);
}

#[test]
fn a_call_of_a_saga_before_it_is_durable_is_noticed() {
    let reason = "was the last that was known to be durable";
    is_noticed_with_sagas(Plant::CallsEarly, 0, reason);
}

#[test]
fn events_of_a_saga_that_are_taken_for_recorded_are_noticed() {
    let reason = "was the last that was known to be durable";
    is_noticed_with_sagas(Plant::UnknownIsDone, 12, reason);
}

#[test]
fn an_owner_that_is_too_late_and_records_all_the_same_is_noticed() {
    let reason = "which was over";
    is_noticed_with_sagas(Plant::EpochIgnored, 13, reason);
}

#[test]
fn an_act_by_hand_that_is_forgotten_is_noticed() {
    let reason = "is taken for seen";
    is_noticed_with_sagas(Plant::UnseenForgotten, 12, reason);
}
