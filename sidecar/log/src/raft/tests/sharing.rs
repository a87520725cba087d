//! Several data groups share a write-ahead log.

use std::sync::Arc;
use std::time::Duration;

use super::restart::send;
use crate::command::{Command, Outcome};
use crate::log::Log;
use crate::logs::Logs;
use crate::options::Options;
use crate::wal::tests::faulty::FaultyDisk;

/// Longer than anything takes on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(60);
const GROUPS: u32 = 5;

fn options(directory: &std::path::Path) -> Options {
    Options {
        groups: GROUPS,
        wal_segment_bytes: 1 << 20,
        wal_first_segment_bytes: 1 << 20,
        entry_bytes_max: 128 << 10,
        entry_bytes_target: 128 << 10,
        ..Options::new(directory)
    }
}

async fn make_topics(log: &Log) {
    let topic = |name: &str| Command::CreateTopic {
        name: name.to_owned(),
        queues: 1,
        durability: Default::default(),
    };
    // Messages of these tests go to the second one.
    let made = log.submit(vec![topic("other"), topic("orders")]).unwrap();
    made.await.unwrap();
}

fn last(log: &Log) -> u64 {
    let last = log.wal().last(log.data_group());
    last.unwrap().index
}

/// The bodies of all messages, as numbers.
fn stored(log: &Log) -> Vec<u32> {
    let topic = log.topic("orders").unwrap().id;
    let mut entries = Vec::new();
    log.index(topic, 0, 0, usize::MAX, &mut entries).unwrap();
    let bodies = log.read(&entries).unwrap();
    let number = |body: &[u8]| std::str::from_utf8(body).unwrap().parse().unwrap();
    bodies.iter().map(|body| number(body)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_all_groups_wait_for_is_one_sync() {
    let directory = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::default();
    let opened = Logs::open_on(options(directory.path()), Arc::new(disk.clone()));
    let logs = opened.await.unwrap();
    for log in logs.iter() {
        make_topics(log).await;
    }
    let before: Vec<_> = logs.iter().map(last).collect();
    let held = disk.hold_syncs();
    // One entry for the sync that is being done, and then one of each group.
    let mut pending = vec![logs.group(0).unwrap().submit(vec![send(0)]).unwrap()];
    for log in logs.iter() {
        pending.push(log.submit(vec![send(1)]).unwrap());
    }
    let written = async {
        let more = |log: &Log| if log.data_group() == 0 { 2 } else { 1 };
        let lacks = |(log, before): (&Log, &u64)| last(log) < before + more(log);
        while logs.iter().zip(&before).any(lacks) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, written).await.unwrap();
    held.let_pass(2);
    for pending in pending {
        let answered = tokio::time::timeout(PATIENCE, pending).await;
        let answered = answered.expect("two syncs are enough").unwrap();
        assert!(matches!(answered[..], [Outcome::Sent { .. }]));
    }
    drop(held);
    logs.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_is_closed_after_the_last_group_and_found_again_by_all() {
    let directory = tempfile::tempdir().unwrap();
    let logs = Logs::open(options(directory.path())).await.unwrap();
    for (log, number) in logs.iter().zip(0..) {
        make_topics(log).await;
        log.submit(vec![send(number)]).unwrap().await.unwrap();
    }
    // One group ends; the others go on.
    logs.group(1).unwrap().clone().shutdown().await;
    assert!(logs.group(1).unwrap().submit(vec![send(9)]).is_err());
    for log in logs.iter().filter(|log| log.data_group() != 1) {
        log.submit(vec![send(100)]).unwrap().await.unwrap();
    }
    let in_use = Logs::open(options(directory.path())).await.unwrap_err();
    assert!(in_use.to_string().contains("in use"), "{in_use}");
    logs.shutdown().await;

    // The derived state of one group is damaged: that one is made again, the others are not.
    let derived = |group: u32| directory.path().join(format!("groups/{group}/derived"));
    std::fs::remove_dir_all(derived(3)).unwrap();
    std::fs::create_dir_all(derived(3).join("store")).unwrap();
    std::fs::write(derived(3).join("store/version"), "nothing of use").unwrap();
    let logs = Logs::open(options(directory.path())).await.unwrap();
    for (log, number) in logs.iter().zip(0..) {
        let expected = match log.data_group() {
            1 => vec![number],
            _ => vec![number, 100],
        };
        assert_eq!(stored(log), expected);
    }
    for group in 0..GROUPS {
        let discarded = derived(group).with_extension("discarded").exists();
        assert_eq!(discarded, group == 3, "group {group}");
    }
    logs.shutdown().await;
}
