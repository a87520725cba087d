//! A process that is killed again and again while it writes loses nothing that it has
//! acknowledged.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command as Process, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::{Rng, SeedableRng, rngs::StdRng};

use crate::command::{Command, NewMessage, Outcome, TopicId};
use crate::{Log, Options, SubmitError};

/// In the child: where the data is.
const CHILD: &str = "OUTRIGGER_CRASH_CHILD";
const ROUNDS: usize = 12;
const WRITERS: u32 = 8;
const SEED: u64 = 20_261_121;

/// Small segments and frequent checkpoints, so that a kill meets all of them.
pub(crate) fn options(directory: &Path) -> Options {
    Options {
        wal_segment_bytes: 2 << 20,
        wal_first_segment_bytes: 256 << 10,
        entry_bytes_max: 128 << 10,
        entry_bytes_target: 32 << 10,
        tail_cache_bytes_max: 128 << 10,
        checkpoint_interval_bytes: 512 << 10,
        ..Options::new(directory)
    }
}

pub(crate) async fn topic(log: &Log) -> TopicId {
    let create = Command::CreateTopic {
        name: "orders".to_owned(),
        queues: 1,
        durability: Default::default(),
    };
    match log.submit(vec![create]).unwrap().await.unwrap()[..] {
        [Outcome::Topic(topic)] => topic,
        ref other => panic!("{other:?}"),
    }
}

pub(crate) fn send(topic: TopicId, writer: u32, number: u64) -> Command {
    let stored = format!("{writer} {number} {}", "x".repeat((number % 300) as usize));
    let message = NewMessage {
        destination: topic.into(),
        key_hash: 0,
        tag_hash: 0,
        deliver_at_ms: 0,
        from_fence: false,
        stored: Bytes::from(stored),
    };
    Command::Send {
        message,
        sequence: None,
    }
}

/// How many messages of each writer there are. They must be there once each and in order.
pub(crate) fn count(log: &Log, topic: TopicId) -> BTreeMap<u32, u64> {
    let mut counts = BTreeMap::new();
    let mut from = 0;
    loop {
        let mut entries = Vec::new();
        log.shared()
            .index(topic, 0, from, 1_000, &mut entries)
            .unwrap();
        let Some(last) = entries.last() else {
            return counts;
        };
        from = last.offset + 1;
        let places = entries.iter().map(|entry| (entry.place, entry.length));
        for bytes in log.reader().read_all(0, places).unwrap() {
            let text = std::str::from_utf8(&bytes).unwrap();
            let mut words = text.split(' ');
            let writer: u32 = words.next().unwrap().parse().unwrap();
            let number: u64 = words.next().unwrap().parse().unwrap();
            let next = counts.entry(writer).or_insert(0);
            assert_eq!(number, *next, "of writer {writer}");
            *next += 1;
        }
    }
}

/// What the child does: goes on from what is there, and says what was acknowledged.
async fn write_until_killed(directory: &Path) {
    let log = Log::open(options(directory)).await.unwrap();
    let topic = topic(&log).await;
    let counts = count(&log, topic);
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        let log = log.clone();
        let mut number = counts.get(&writer).copied().unwrap_or(0);
        println!("acknowledged {writer} {number}");
        writers.push(tokio::spawn(async move {
            for size in (1..=24).cycle() {
                let commands = (0..size).map(|add| send(topic, writer, number + add));
                match log.submit(commands.collect()) {
                    Ok(pending) => assert_eq!(pending.await.unwrap().len() as u64, size),
                    Err(SubmitError::Overloaded { .. }) => continue,
                    Err(error) => panic!("{error}"),
                }
                number += size;
                println!("acknowledged {writer} {number}");
            }
        }));
    }
    for writer in writers {
        writer.await.unwrap();
    }
}

/// Runs the child for a while and kills it; how far each writer was told that it is safe.
fn kill_one(directory: &Path, after: Duration) -> BTreeMap<u32, u64> {
    let mut child = Process::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "crash::nothing_acknowledged_is_lost",
            "--nocapture",
        ])
        .env(CHILD, directory)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let reading = std::thread::spawn(move || {
        let mut acknowledged = BTreeMap::new();
        for line in lines.map_while(Result::ok) {
            let words: Vec<&str> = line.split(' ').collect();
            if let ["acknowledged", writer, number] = words[..] {
                // The last line may have been cut by the kill.
                if let (Ok(writer), Ok(number)) = (writer.parse(), number.parse::<u64>()) {
                    let known: &mut u64 = acknowledged.entry(writer).or_insert(0);
                    *known = number.max(*known);
                }
            }
        }
        acknowledged
    });
    std::thread::sleep(after);
    child.kill().unwrap();
    child.wait().unwrap();
    reading.join().unwrap()
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

#[test]
fn nothing_acknowledged_is_lost() {
    if let Some(directory) = std::env::var_os(CHILD) {
        runtime().block_on(write_until_killed(Path::new(&directory)));
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut random = StdRng::seed_from_u64(SEED);
    let mut total = 0;
    for round in 0..ROUNDS {
        let after = Duration::from_millis(random.random_range(50..600));
        let acknowledged = kill_one(directory.path(), after);
        // A runtime of its own, so that a log that is not shut down is gone with it.
        let (found, opened_in) = runtime().block_on(async {
            let start = Instant::now();
            let log = Log::open(options(directory.path())).await.unwrap();
            let opened_in = start.elapsed();
            let topic = topic(&log).await;
            let found = count(&log, topic);
            if round % 3 == 0 {
                log.shutdown().await;
            }
            (found, opened_in)
        });
        assert!(opened_in < Duration::from_secs(10), "{opened_in:?}");
        for (writer, number) in acknowledged {
            let kept = found.get(&writer).copied().unwrap_or(0);
            assert!(
                kept >= number,
                "round {round}: {number} messages of writer {writer} were acknowledged, {kept} are there"
            );
        }
        let now: u64 = found.values().sum();
        assert!(now >= total, "round {round}");
        total = now;
    }
    assert!(total > 0);
}
