//! How the log is doing, for `/metrics`.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use metrics::{Label, counter, describe_counter, describe_gauge, gauge};
use outrigger_log::{Aftermath, Log, Logs, Status, cluster::Leadership};
use tokio::time::{MissedTickBehavior, interval};

/// How often the gauges are brought up to date.
const INTERVAL: Duration = Duration::from_secs(1);

const UNRESOLVED: &str = "outrigger_transactions_unresolved";
const PARKED: &str = "outrigger_transactions_parked";
const DELAYED: &str = "outrigger_messages_delayed";
const OUTGOING: &str = "outrigger_messages_outgoing";
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
pub(crate) async fn keep(logs: Logs) {
    describe_gauge!(
        UNRESOLVED,
        "transactions without a verdict, parked ones included"
    );
    describe_gauge!(PARKED, "transactions that were set aside for a person");
    describe_gauge!(DELAYED, "messages that wait until they are due");
    describe_gauge!(
        OUTGOING,
        "messages of committed transactions on their way to other data groups"
    );
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
    let mut told: BTreeMap<u32, BTreeSet<u64>> = BTreeMap::new();
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        for log in logs.iter() {
            let labels = Labels::of(log);
            let status = log.status();
            set(&status, &labels);
            let told = told.entry(log.data_group()).or_default();
            set_cluster(log, &status, &labels, told);
            count(log.aftermath(), &labels);
        }
        if let Some(log) = logs.group(0) {
            set_of_node(&log.status());
        }
    }
}

/// Which data group a figure is of, where there are several.
struct Labels(Vec<Label>);

impl Labels {
    fn of(log: &Log) -> Self {
        let group = log.data_group().to_string();
        let several = log.placement().groups() > 1;
        Self(
            several
                .then(|| Label::new("data_group", group))
                .into_iter()
                .collect(),
        )
    }

    fn and_node(&self, id: u64) -> Vec<Label> {
        let mut labels = self.0.clone();
        labels.push(Label::new("node", id.to_string()));
        labels
    }
}

fn count(aftermath: &Aftermath, Labels(labels): &Labels) {
    counter!(REFUSED_LATER, labels.clone()).absolute(aftermath.refused());
    counter!(LOST_LATER, labels.clone()).absolute(aftermath.lost());
    counter!(SYNCED_LATE, labels.clone()).absolute(aftermath.synced_late());
}

fn set(status: &Status, Labels(labels): &Labels) {
    gauge!(UNRESOLVED, labels.clone()).set(status.unresolved as f64);
    gauge!(PARKED, labels.clone()).set(status.parked as f64);
    gauge!(DELAYED, labels.clone()).set(status.delayed as f64);
    if !labels.is_empty() {
        gauge!(OUTGOING, labels.clone()).set(status.outgoing as f64);
    }
    gauge!(APPLIED, labels.clone()).set(status.applied_index as f64);
    gauge!(IN_FLIGHT, labels.clone()).set(status.in_flight_bytes as f64);
    gauge!(FLOOR, labels.clone()).set(status.floor_index as f64);
}

/// What all data groups share.
fn set_of_node(status: &Status) {
    gauge!(DISK_FULL).set(f64::from(u8::from(status.disk_full)));
    gauge!(DISK_USED).set(status.disk_used_percent as f64);
    gauge!(LOG_BYTES).set(status.log_bytes as f64);
}

fn set_cluster(log: &Log, status: &Status, labels: &Labels, told: &mut BTreeSet<u64>) {
    let leads = matches!(*log.leadership().borrow(), Leadership::Leading { .. });
    gauge!(LEADS, labels.0.clone()).set(f64::from(u8::from(leads)));
    gauge!(TERM, labels.0.clone()).set(status.term as f64);
    let mut silent = std::mem::take(told);
    for replica in log.replication() {
        if replica.id == status.node_id {
            continue;
        }
        let lag = status.applied_index.saturating_sub(replica.matched_index);
        gauge!(LAG, labels.and_node(replica.id)).set(lag as f64);
        silent.remove(&replica.id);
        told.insert(replica.id);
    }
    for id in silent {
        gauge!(LAG, labels.and_node(id)).set(f64::NAN);
    }
}
