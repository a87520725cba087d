//! How fast three nodes of one process keep a log, without a network: for finding out where
//! the time goes.
//!
//! `cargo run --release -p outrigger-log --example three_voters -- [seconds] [writers] [batch]`

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a tool for whoever works on the log"
)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use outrigger_log::cluster::{
    ClusterOptions, Exchange, Identity, Member, OpenExchange, Purpose, Start, Transport,
};
use outrigger_log::{Command, Log, NewMessage, Options, Outcome, TopicId};
use tokio::sync::mpsc;

type Nodes = Arc<Mutex<BTreeMap<u64, Log>>>;

struct Wire {
    nodes: Nodes,
    own: u64,
}

impl Transport for Wire {
    fn open(&self, target: u64, _member: &Member, purpose: Purpose) -> OpenExchange {
        let log = self.nodes.lock().unwrap().get(&target).cloned();
        let own = self.own;
        Box::pin(async move {
            let log = log.ok_or(std::io::ErrorKind::NotConnected)?;
            let (frames, there) = mpsc::channel(64);
            let answers = log.serve_peer(own, purpose, there);
            Ok(Exchange { frames, answers })
        })
    }
}

fn send(topic: TopicId, body: &Bytes) -> Command {
    let message = NewMessage {
        topic,
        key_hash: 0,
        tag_hash: 0,
        deliver_at_ms: 0,
        from_fence: false,
        stored: body.clone(),
    };
    Command::Send {
        message,
        sequence: None,
    }
}

async fn write(log: Log, topic: TopicId, batch: usize, sent: Arc<AtomicU64>, until: Instant) {
    let body = Bytes::from(vec![b'x'; 256]);
    while Instant::now() < until {
        let commands = (0..batch).map(|_| send(topic, &body)).collect();
        match log.submit(commands) {
            Ok(pending) => {
                pending.await.unwrap();
                sent.fetch_add(batch as u64, Ordering::Relaxed);
            }
            Err(error) if error.is_retryable() => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    }
}

async fn start(nodes: &Nodes, directory: &std::path::Path, count: u64) -> Log {
    let path = |id: u64| directory.join(id.to_string());
    let member = |id| {
        Identity::read_or_make(&path(id), id).unwrap();
        let identity = Identity::adopt(&path(id), "bench").unwrap();
        let instance = identity.instance;
        Member {
            instance,
            ..Member::default()
        }
    };
    let members: BTreeMap<_, _> = (1..=count).map(|id| (id, member(id))).collect();
    for id in (1..=count).rev() {
        let start = match id {
            1 => Start::Form(members.clone()),
            _ => Start::Wait,
        };
        let nodes_there = Arc::clone(nodes);
        let transport = Arc::new(Wire {
            nodes: nodes_there,
            own: id,
        });
        let options = Options {
            node_id: id,
            cluster: Some(ClusterOptions { transport, start }),
            ..Options::new(path(id))
        };
        let log = Log::open(options).await.unwrap();
        nodes.lock().unwrap().insert(id, log);
    }
    let leads = |log: &&Log| log.leadership().borrow().is_leading();
    loop {
        if let Some(log) = nodes.lock().unwrap().values().find(leads) {
            return log.clone();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::main]
async fn main() {
    let numbers = std::env::args().skip(1).map(|text| text.parse().unwrap());
    let mut numbers = numbers.collect::<Vec<u64>>().into_iter();
    let seconds = numbers.next().unwrap_or(5);
    let writers = numbers.next().unwrap_or(64);
    let batch = numbers.next().unwrap_or(64) as usize;
    let count = numbers.next().unwrap_or(3);
    let directory = tempfile::tempdir().unwrap();
    let nodes = Nodes::default();
    let leader = start(&nodes, directory.path(), count).await;
    let create = Command::CreateTopic {
        name: "orders".to_owned(),
        queues: 8,
        durability: Default::default(),
    };
    let created = leader.submit(vec![create]).unwrap().await.unwrap();
    let [Outcome::Topic(topic)] = created[..] else {
        panic!("{created:?}");
    };
    let sent = Arc::new(AtomicU64::new(0));
    let begun = Instant::now();
    let until = begun + Duration::from_secs(seconds);
    let writing = (0..writers).map(|_| {
        let sent = Arc::clone(&sent);
        tokio::spawn(write(leader.clone(), topic, batch, sent, until))
    });
    for writer in writing.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    let took = begun.elapsed().as_secs_f64();
    let sent = sent.load(Ordering::Relaxed);
    println!(
        "{count} nodes: {sent} messages, {:.0} a second",
        sent as f64 / took
    );
    let term = leader.status().term;
    println!("term {term}, {} entries", leader.status().applied_index);
}
