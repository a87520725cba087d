//! Several data groups on the same nodes: each has a leader of its own, and they share a log.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use outrigger_log::cluster::{Leadership, Start};
use outrigger_log::{Log, OpenError, Options, Outcome, TopicId};

use crate::harness::{self, Cluster, bodies, eventually, send, topic, write_to};

const GROUPS: u32 = 3;

fn options(directory: &Path) -> Options {
    Options {
        groups: GROUPS,
        ..harness::options(directory)
    }
}

/// A log that is kept small, with the state written often.
fn small(directory: &Path) -> Options {
    Options {
        wal_segment_bytes: 64 << 10,
        wal_first_segment_bytes: 16 << 10,
        entry_bytes_max: 16 << 10,
        entry_bytes_target: 4 << 10,
        checkpoint_interval_ms: 20,
        retention_bytes: Some(4 * (64 << 10)),
        retention_interval_ms: 20,
        ..options(directory)
    }
}

/// Group 0 is led by node 1, group 1 by node 2, and so on.
async fn spread(cluster: &Cluster) -> Vec<Log> {
    let mut leaders = Vec::new();
    for group in 0..GROUPS {
        let wanted = u64::from(group) + 1;
        eventually_led_by(cluster, group, wanted).await;
        leaders.push(cluster.group(wanted, group));
    }
    leaders
}

async fn eventually_led_by(cluster: &Cluster, group: u32, wanted: u64) {
    for _ in 0..20 {
        let (id, leader) = cluster.leader_of(group, &[]).await;
        if id == wanted {
            return;
        }
        // The others may be behind, or just have elected somebody else.
        let _ = leader.transfer_leadership(Some(wanted)).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("group {group} was not taken over by node {wanted}");
}

async fn send_all(log: &Log, topic: TopicId, texts: impl IntoIterator<Item = String>) {
    for text in texts {
        let sent = log.submit(vec![send(topic, &text)]).unwrap().await.unwrap();
        assert!(matches!(sent[..], [Outcome::Sent { .. }]), "{sent:?}");
    }
}

fn term(log: &Log) -> Option<u64> {
    match *log.leadership().borrow() {
        Leadership::Leading { term } => Some(term),
        Leadership::Following { .. } => None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_group_has_a_leader_and_messages_of_its_own() {
    let cluster = Cluster::of_three_with(options).await;
    let leaders = spread(&cluster).await;
    for (group, leader) in (0_u32..).zip(&leaders) {
        assert_eq!(
            (leader.data_group(), leader.placement().groups()),
            (group, GROUPS)
        );
        let topic = topic(leader).await;
        let texts = (0..50).map(|number| format!("{group} {number}"));
        send_all(leader, topic, texts).await;
    }
    for group in 0..GROUPS {
        cluster.agree_in(group).await;
        let expected: Vec<_> = (0..50).map(|number| format!("{group} {number}")).collect();
        for id in cluster.ids() {
            assert_eq!(bodies(&cluster.group(id, group)), expected);
        }
    }

    // One group's leader moves, and the others do not notice.
    let before: Vec<_> = leaders.iter().map(term).collect();
    assert_eq!(leaders[1].transfer_leadership(Some(3)).await, Ok(3));
    let (id, moved) = cluster.leader_of(1, &[2]).await;
    assert_eq!(id, 3);
    let orders = moved.topic("orders").unwrap().id;
    send_all(&moved, orders, ["after".to_owned()]).await;
    assert!(!leaders[1].leadership().borrow().is_leading());
    for group in [0, 2] {
        assert_eq!(term(&leaders[group]), before[group], "group {group}");
        assert!(leaders[group].has_lease());
    }
    cluster.agree_in(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_die_under_load_and_no_group_loses_anything() {
    let cluster = Arc::new(Cluster::of_three_with(options).await);
    for leader in spread(&cluster).await {
        topic(&leader).await;
    }
    let stop = Arc::new(AtomicBool::new(false));
    let writer = |group: u32| {
        let (cluster, stop) = (Arc::clone(&cluster), Arc::clone(&stop));
        tokio::spawn(write_to(group, cluster, group, stop))
    };
    let writers: Vec<_> = (0..GROUPS).map(writer).collect();
    for id in [1, 2, 3] {
        tokio::time::sleep(Duration::from_millis(300)).await;
        cluster.kill(id).await;
        for group in 0..GROUPS {
            cluster.leader_of(group, &[id]).await;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        cluster.start(id, Start::Wait).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    stop.store(true, Ordering::SeqCst);
    for (group, writer) in (0..).zip(writers) {
        let acknowledged = writer.await.unwrap();
        assert!(!acknowledged.is_empty(), "group {group}");
        cluster.agree_in(group).await;
        let stored = bodies(&cluster.group(1, group));
        let mut places: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (place, body) in stored.iter().enumerate() {
            places.entry(body.to_vec()).or_default().push(place);
        }
        for text in &acknowledged {
            let times = places.get(text.as_bytes()).map_or(0, Vec::len);
            assert_eq!(times, 1, "group {group}: {text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_stops_in_order_hands_every_lead_over() {
    let cluster = Cluster::of_three_with(options).await;
    for group in 0..GROUPS {
        eventually_led_by(&cluster, group, 1).await;
        topic(&cluster.group(1, group)).await;
        cluster.agree_in(group).await;
    }
    cluster.stop(1).await;
    // Their successors led before the old one had closed its files.
    for group in 0..GROUPS {
        let leads = |id| term(&cluster.group(id, group)).is_some();
        assert!(leads(2) || leads(3), "group {group}");
    }
    cluster.start(1, Start::Wait).await.unwrap();
    for group in 0..GROUPS {
        cluster.agree_in(group).await;
    }
}

/// The number of the oldest segment of a node's log.
fn oldest_segment(directory: &Path) -> u64 {
    let files = std::fs::read_dir(directory.join("wal")).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let number = |name: String| name.split('.').next()?.parse::<u64>().ok();
    names.filter_map(number).min().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_at_rest_holds_nothing_and_a_late_node_gets_all_groups() {
    let cluster = Cluster::of_three_with(small).await;
    let leaders = spread(&cluster).await;
    let mut topics = Vec::new();
    for (group, leader) in (0..).zip(&leaders) {
        let topic = topic(leader).await;
        send_all(
            leader,
            topic,
            (0..10).map(|number| format!("{group} {number}")),
        )
        .await;
        topics.push(topic);
    }
    // From now on the last group has nothing to do.
    let busy = [0, 1];
    let mut number = 0;
    let mut fill = async |least: u64| {
        let limit = tokio::time::Instant::now() + Duration::from_secs(90);
        while (1..=3).any(|id| oldest_segment(&cluster.path(id)) < least) {
            let oldest = [1, 2, 3].map(|id| oldest_segment(&cluster.path(id)));
            assert!(tokio::time::Instant::now() < limit, "held: {oldest:?}");
            for group in busy {
                let (_, leader) = cluster.leader_of(group, &[]).await;
                let texts = (0..20).map(|add| format!("{:01000}", number + add));
                send_all(&leader, topics[group as usize], texts).await;
            }
            number += 20;
        }
    };
    // Until entries that are there because it rests are gone as well.
    fill(25).await;
    let (_, resting) = cluster.leader_of(2, &[]).await;
    let status = resting.status();
    assert!(status.applied_index < 60, "it is kept busy: {status:?}");
    assert!(status.floor_index > 10, "{status:?}");

    // A node that comes now finds no group's beginning in anybody's log.
    let member = cluster.adopt(4);
    cluster.start(4, Start::Wait).await.unwrap();
    for group in 0..GROUPS {
        let (_, leader) = cluster.leader_of(group, &[]).await;
        leader.add_learner(4, member.clone()).await.unwrap();
    }
    for group in 0..GROUPS {
        let (_, leader) = cluster.leader_of(group, &[]).await;
        let late = cluster.group(4, group);
        eventually("the late node has caught up", || {
            late.status().applied_index == leader.status().applied_index
        })
        .await;
        let expected = leader.topic("orders").unwrap();
        assert_eq!(late.topic("orders").unwrap(), expected);
        assert_eq!(late.digest().unwrap(), leader.digest().unwrap());
    }

    // All of it is found again after a restart.
    let ends = |id| {
        let logs = (0..GROUPS).map(|group| cluster.group(id, group));
        let ends = logs.map(|log| log.queue_bounds(log.topic("orders").unwrap().id, 0).1);
        ends.collect::<Vec<_>>()
    };
    let before = ends(1);
    assert_eq!(before[2], 10);
    drop((leaders, resting));
    for id in [1, 2, 3, 4] {
        cluster.stop(id).await;
    }
    for id in [1, 2, 3, 4] {
        cluster.start(id, Start::Wait).await.unwrap();
    }
    for group in 0..GROUPS {
        let (_, leader) = cluster.leader_of(group, &[]).await;
        for id in [1, 2, 3, 4] {
            let log = cluster.group(id, group);
            eventually("the state is the leader's", || {
                log.digest().unwrap() == leader.digest().unwrap()
            })
            .await;
        }
    }
    for id in [1, 2, 3, 4] {
        assert_eq!(ends(id), before);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_number_of_groups_is_refused() {
    let cluster = Cluster::of_three_with(options).await;
    spread(&cluster).await;
    cluster.stop(3).await;
    for given in [1, 2, 64] {
        let options = Options {
            node_id: 3,
            groups: given,
            ..harness::options(&cluster.path(3))
        };
        let error = outrigger_log::Logs::open(options).await.unwrap_err();
        let OpenError::Directory(outrigger_log::DirectoryError::OtherGroups {
            recorded,
            given: named,
            ..
        }) = &error
        else {
            panic!("{error}");
        };
        assert_eq!((*recorded, *named), (GROUPS, given));
    }
    for groups in [0, 65, 2] {
        let options = Options {
            groups,
            ..Options::new(cluster.path(9))
        };
        let error = Log::open(options).await.unwrap_err();
        assert!(matches!(error, OpenError::Options(_)), "{error}");
    }
    assert!(!cluster.path(9).exists());
}
