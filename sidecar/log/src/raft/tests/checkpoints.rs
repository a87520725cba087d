//! When checkpoints are written, and written again.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::fake::{Counting, Writing};
use super::restart::{floors, options, send, wal};
use crate::raft::{CheckpointLimits, Node, NodeOptions};

/// Never by bytes or time.
fn by_records(records_max: u64) -> NodeOptions {
    NodeOptions {
        checkpoint: CheckpointLimits {
            interval_bytes: u64::MAX,
            interval_ms: u64::MAX,
            records_max,
            floor_interval_bytes: u64::MAX,
        },
        ..options()
    }
}

fn failing(failures: u32) -> (Counting, Arc<Mutex<Writing>>) {
    let writing = Arc::new(Mutex::new(Writing {
        begins: true,
        failures,
        ..Writing::default()
    }));
    let state = Counting {
        writing: Arc::clone(&writing),
        ..Counting::default()
    };
    (state, writing)
}

async fn written(writing: &Mutex<Writing>, count: usize) {
    let done = async {
        while writing.lock().unwrap().written.len() < count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let limit = Duration::from_secs(20);
    tokio::time::timeout(limit, done)
        .await
        .expect("no checkpoint was written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_records_are_written_although_they_are_few_bytes() {
    let directory = tempfile::tempdir().unwrap();
    let (state, writing) = failing(0);
    let node = Node::start(
        by_records(10),
        wal(directory.path()),
        state,
        floors(directory.path()),
    )
    .await
    .unwrap();
    let nine = (0..9).map(send).collect();
    node.submit(nine).unwrap().await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(writing.lock().unwrap().tried_at.len(), 0);
    for count in 1..3 {
        let more = (0..10).map(send).collect();
        node.submit(more).unwrap().await.unwrap();
        written(&writing, count).await;
    }
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_that_fails_is_tried_again_later_and_later() {
    let directory = tempfile::tempdir().unwrap();
    let (state, writing) = failing(3);
    let node = Node::start(
        by_records(1),
        wal(directory.path()),
        state,
        floors(directory.path()),
    )
    .await
    .unwrap();
    node.submit(vec![send(0)]).unwrap().await.unwrap();
    written(&writing, 1).await;
    node.submit(vec![send(1)]).unwrap().await.unwrap();
    written(&writing, 2).await;
    node.shutdown().await;
    let writing = writing.lock().unwrap();
    assert_eq!(writing.tried_at.len(), 5);
    let pauses: Vec<_> = writing
        .tried_at
        .windows(2)
        .map(|at| at[1] - at[0])
        .collect();
    for (pause, least_ms) in pauses.iter().zip([200, 400, 800]) {
        assert!(*pause >= Duration::from_millis(least_ms), "{pauses:?}");
    }
    assert!(writing.written.is_sorted());
}
