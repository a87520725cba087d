//! How the log is doing, for `/metrics`.

use std::{collections::BTreeSet, time::Duration};

use metrics::{counter, describe_counter, describe_gauge, gauge};
use outrigger_log::{Aftermath, Log, Status, cluster::Leadership};
use tokio::time::{MissedTickBehavior, interval};

/// How often the gauges are brought up to date.
const INTERVAL: Duration = Duration::from_secs(1);

const UNRESOLVED: &str = "outrigger_transactions_unresolved";
const PARKED: &str = "outrigger_transactions_parked";
const DELAYED: &str = "outrigger_messages_delayed";
const APPLIED: &str = "outrigger_log_applied_index";
const IN_FLIGHT: &str = "outrigger_log_in_flight_bytes";
const LEADS: &str = "outrigger_cluster_leads";
const TERM: &str = "outrigger_cluster_term";
const LAG: &str = "outrigger_cluster_replica_lag_entries";
const REFUSED_LATER: &str = "outrigger_sends_refused_later_total";
const LOST_LATER: &str = "outrigger_sends_lost_later_total";
const SYNCED_LATE: &str = "outrigger_sends_synced_late_total";
const DISK_FULL: &str = "outrigger_log_disk_full";
const DISK_USED: &str = "outrigger_log_disk_used_percent";
const LOG_BYTES: &str = "outrigger_log_bytes";
const FLOOR: &str = "outrigger_log_floor_index";

/// Keeps the gauges up to date for as long as it is polled.
pub(crate) async fn keep(log: Log) {
    describe_gauge!(
        UNRESOLVED,
        "transactions without a verdict, parked ones included"
    );
    describe_gauge!(PARKED, "transactions that were set aside for a person");
    describe_gauge!(DELAYED, "messages that wait until they are due");
    describe_gauge!(APPLIED, "the last entry of the log that was applied");
    describe_gauge!(IN_FLIGHT, "bytes of commands that were not answered yet");
    describe_gauge!(
        DISK_FULL,
        "1 while new messages are refused for lack of disk space"
    );
    describe_gauge!(DISK_USED, "how much of the file system is used, in percent");
    describe_gauge!(LOG_BYTES, "bytes of the log on the disk");
    describe_gauge!(
        FLOOR,
        "the entry up to which the log is not needed any more"
    );
    describe_counter!(
        REFUSED_LATER,
        "sends that were refused after they had been answered early"
    );
    describe_counter!(
        LOST_LATER,
        "sends that were lost, or may be, after they had been answered early"
    );
    describe_counter!(
        SYNCED_LATE,
        "sends answered as replicated that were not synced within the stated time"
    );
    describe_gauge!(LEADS, "1 on the node that leads, 0 on the others");
    describe_gauge!(TERM, "the term, which grows with every election");
    describe_gauge!(
        LAG,
        "entries that a node is behind the leader; only the leader tells"
    );
    // Of which nodes the lag was told, so that nothing old is told for ever.
    let mut told = BTreeSet::new();
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let status = log.status();
        set(&status);
        set_cluster(&log, &status, &mut told);
        count(log.aftermath());
    }
}

fn count(aftermath: &Aftermath) {
    counter!(REFUSED_LATER).absolute(aftermath.refused());
    counter!(LOST_LATER).absolute(aftermath.lost());
    counter!(SYNCED_LATE).absolute(aftermath.synced_late());
}

fn set(status: &Status) {
    gauge!(UNRESOLVED).set(status.unresolved as f64);
    gauge!(PARKED).set(status.parked as f64);
    gauge!(DELAYED).set(status.delayed as f64);
    gauge!(APPLIED).set(status.applied_index as f64);
    gauge!(IN_FLIGHT).set(status.in_flight_bytes as f64);
    gauge!(DISK_FULL).set(f64::from(u8::from(status.disk_full)));
    gauge!(DISK_USED).set(status.disk_used_percent as f64);
    gauge!(LOG_BYTES).set(status.log_bytes as f64);
    gauge!(FLOOR).set(status.floor_index as f64);
}

fn set_cluster(log: &Log, status: &Status, told: &mut BTreeSet<u64>) {
    let leads = matches!(*log.leadership().borrow(), Leadership::Leading { .. });
    gauge!(LEADS).set(f64::from(u8::from(leads)));
    gauge!(TERM).set(status.term as f64);
    let mut silent = std::mem::take(told);
    for replica in log.replication() {
        if replica.id == status.node_id {
            continue;
        }
        let lag = status.applied_index.saturating_sub(replica.matched_index);
        gauge!(LAG, "node" => replica.id.to_string()).set(lag as f64);
        silent.remove(&replica.id);
        told.insert(replica.id);
    }
    for id in silent {
        gauge!(LAG, "node" => id.to_string()).set(f64::NAN);
    }
}
