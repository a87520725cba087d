//! How carrying out sagas is doing, for `/metrics`.

use std::time::Duration;

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

use super::{lanes::Lanes, sagas::Sagas};
use crate::saga::store::Why;

/// How often the gauges are brought up to date.
pub(super) const INTERVAL: Duration = Duration::from_secs(1);

const HELD: &str = "outrigger_sagas_held";
const STARTED: &str = "outrigger_sagas_started_total";
const ENDED: &str = "outrigger_sagas_ended_total";
const TAKEN: &str = "outrigger_sagas_taken_over_total";
const LOST: &str = "outrigger_sagas_lost_total";
const EVENTS: &str = "outrigger_saga_events_total";
const REFUSED: &str = "outrigger_saga_events_refused_total";
const UNKNOWN: &str = "outrigger_saga_events_unknown_total";
const BATCH: &str = "outrigger_saga_batch_commands";
const CALLING: &str = "outrigger_saga_calls_under_way";
const WAITING: &str = "outrigger_saga_calls_waiting";
const READS: &str = "outrigger_saga_reads_waiting";

pub(super) fn describe() {
    describe_gauge!(
        HELD,
        "sagas that this process carries out, asleep or in memory"
    );
    describe_counter!(STARTED, "sagas that were started and are carried out here");
    describe_counter!(ENDED, "sagas that have ended here");
    describe_counter!(TAKEN, "sagas that were taken over");
    describe_counter!(LOST, "sagas that somebody else has taken over");
    describe_counter!(EVENTS, "events of sagas that were recorded");
    describe_counter!(
        REFUSED,
        "attempts to record events that were refused, by why"
    );
    describe_counter!(
        UNKNOWN,
        "commands of which nobody knew whether they were carried out"
    );
    describe_histogram!(BATCH, "commands that went to the log together");
    describe_gauge!(CALLING, "calls of steps and deliveries under way");
    describe_gauge!(WAITING, "sagas that wait until a participant can be called");
    describe_gauge!(READS, "sagas that are read, or are to be");
}

pub(super) fn set(sagas: &Sagas, lanes: &Lanes, reads: usize) {
    gauge!(HELD, "state" => "asleep").set(sagas.asleep() as f64);
    gauge!(HELD, "state" => "in_memory").set(sagas.in_memory() as f64);
    gauge!(CALLING).set(lanes.under_way() as f64);
    gauge!(WAITING).set(lanes.waiting() as f64);
    gauge!(READS).set(reads as f64);
}

pub(super) fn started() {
    counter!(STARTED).increment(1);
}

pub(super) fn ended(completed: bool) {
    let status = match completed {
        true => "completed",
        false => "undone",
    };
    counter!(ENDED, "status" => status).increment(1);
}

pub(super) fn taken(sagas: usize) {
    counter!(TAKEN).increment(number(sagas));
}

pub(super) fn lost() {
    counter!(LOST).increment(1);
}

pub(super) fn appended(events: usize) {
    counter!(EVENTS).increment(number(events));
}

pub(super) fn refused(why: Why) {
    let why = match why {
        Why::Stale => "stale",
        Why::NotOwner => "not_owner",
        Why::TooManyEvents => "too_many_events",
        _ => "other",
    };
    counter!(REFUSED, "why" => why).increment(1);
}

pub(super) fn unknown(commands: usize) {
    counter!(UNKNOWN).increment(number(commands));
}

pub(super) fn batch(commands: usize) {
    histogram!(BATCH).record(commands as f64);
}

fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
