//! An application that sends all the time, and what it was told.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use outrigger_sdk::{
    Client, Message, PublishOptions, Stop,
    consumer::{Received, Retry},
};
pub(crate) use outrigger_tests::waiting::{PATIENCE, eventually};
use tokio::{sync::watch, task::JoinSet};

/// A client of one node.
pub(crate) async fn client(uri: String) -> Client {
    let options = PublishOptions {
        retry_total_ms: 60_000,
        ..PublishOptions::default()
    };
    let client = Client::connect_with(uri, options).await;
    client.expect("a legal address")
}

/// Sends plainly and in transactions until it is stopped.
pub(crate) struct Load {
    told: Arc<Mutex<Told>>,
    over: watch::Sender<bool>,
    senders: JoinSet<()>,
}

/// What the application knows.
#[derive(Clone, Default)]
pub(crate) struct Told {
    pub(crate) acknowledged: BTreeSet<String>,
    pub(crate) rolled_back: BTreeSet<String>,
    pub(crate) errors: Vec<String>,
}

impl Load {
    /// Through the nodes at these addresses, to the topic `load`.
    pub(crate) async fn start(uris: Vec<String>) -> Self {
        let (over, ending) = watch::channel(false);
        let told = Arc::default();
        let mut senders = JoinSet::new();
        for (number, uri) in uris.into_iter().enumerate() {
            let client = client(uri).await;
            let plainly = send_plainly(client.clone(), number, Arc::clone(&told), ending.clone());
            senders.spawn(plainly);
            senders.spawn(send_in_transactions(
                client,
                number,
                Arc::clone(&told),
                ending.clone(),
            ));
        }
        Self {
            told,
            over,
            senders,
        }
    }

    pub(crate) fn acknowledged(&self) -> usize {
        lock(&self.told).acknowledged.len()
    }

    /// Waits until so many more were acknowledged.
    pub(crate) async fn goes_on(&self, count: usize) {
        let goal = self.acknowledged() + count;
        eventually("the load goes on", async || self.acknowledged() >= goal).await;
    }

    pub(crate) async fn stop(mut self) -> Told {
        self.over.send_replace(true);
        while let Some(ended) = self.senders.join_next().await {
            ended.expect("no panic");
        }
        lock(&self.told).clone()
    }
}

fn lock(told: &Mutex<Told>) -> std::sync::MutexGuard<'_, Told> {
    told.lock().expect("not poisoned")
}

async fn send_plainly(
    client: Client,
    number: usize,
    told: Arc<Mutex<Told>>,
    over: watch::Receiver<bool>,
) {
    let producer = client.producer("load");
    let mut count = 0;
    while !*over.borrow() {
        let bodies: Vec<String> = (0..16)
            .map(|_| {
                count += 1;
                format!("plain-{number}-{count:08}")
            })
            .collect();
        let messages = bodies.iter().map(|body| Message::new("load", body.clone()));
        let receipts = producer.send_all(messages.collect::<Vec<_>>()).await;
        let mut told = lock(&told);
        for (receipt, body) in receipts.into_iter().zip(bodies) {
            match receipt {
                Ok(_) => drop(told.acknowledged.insert(body)),
                Err(error) => told.errors.push(format!("{body}: {error}")),
            }
        }
    }
}

async fn send_in_transactions(
    client: Client,
    number: usize,
    told: Arc<Mutex<Told>>,
    over: watch::Receiver<bool>,
) {
    let producer = client.producer("load");
    let mut count = 0;
    while !*over.borrow() {
        count += 1;
        let commits = count % 4 != 0;
        let body = format!("transaction-{number}-{count:08}");
        let message = Message::new("load", body.clone());
        let prepared = producer.transaction().message(message).prepare().await;
        let resolved = match prepared {
            Ok(prepared) if commits => prepared.commit().await,
            Ok(prepared) => prepared.rollback().await,
            Err(error) => Err(error),
        };
        let mut told = lock(&told);
        match resolved {
            Ok(_) if commits => drop(told.acknowledged.insert(body)),
            Ok(_) => drop(told.rolled_back.insert(body)),
            Err(error) => told.errors.push(format!("{body}: {error}")),
        }
    }
}

/// Compares what the application was told with what consumers get.
pub(crate) async fn check(client: &Client, told: &Told) {
    assert!(told.errors.is_empty(), "{:#?}", told.errors);
    let delivered = read_all(client, "load", told.acknowledged.len()).await;
    let lost: Vec<_> = told
        .acknowledged
        .iter()
        .filter(|body| !delivered.contains_key(*body))
        .collect();
    let doubled: Vec<_> = delivered
        .iter()
        .filter(|(_, offsets)| offsets.len() > 1)
        .collect();
    let phantoms: Vec<_> = delivered
        .keys()
        .filter(|body| told.rolled_back.contains(*body))
        .collect();
    println!("{} acknowledged", told.acknowledged.len());
    assert!(lost.is_empty(), "{} lost: {lost:?}", lost.len());
    assert!(doubled.is_empty(), "stored twice: {doubled:?}");
    assert!(
        phantoms.is_empty(),
        "delivered though rolled back: {phantoms:?}"
    );
}

type Place = (u32, u64);

/// Every message of a topic and where it is stored, by body, once there are so many.
async fn read_all(client: &Client, topic: &str, count: usize) -> BTreeMap<String, BTreeSet<Place>> {
    let seen: Arc<Mutex<BTreeMap<String, BTreeSet<Place>>>> = Arc::default();
    let stop = Stop::new();
    let consumer = client
        .consumer(format!("reader-{}", uuid::Uuid::new_v4().simple()))
        .subscribe(topic, "*")
        .concurrency(1_024)
        .stop(stop.clone())
        .run({
            let seen = seen.clone();
            move |message: Received| {
                let body = String::from_utf8_lossy(message.body()).into_owned();
                let place = (message.queue(), message.offset());
                let mut seen = seen.lock().expect("not poisoned");
                seen.entry(body).or_default().insert(place);
                std::future::ready(Ok::<(), Retry>(()))
            }
        });
    let consumer = tokio::spawn(consumer);
    let stored = async || -> u64 {
        let topic = client.admin().topic(topic).await.expect("the topic exists");
        let queues = topic.queues.iter();
        queues
            .map(|queue| queue.next_offset - queue.first_offset)
            .sum()
    };
    // What another data group has committed is on its way.
    eventually("everything that was acknowledged is stored", async || {
        stored().await >= count as u64
    })
    .await;
    let stored = stored().await;
    let places = || {
        let seen = seen.lock().expect("not poisoned");
        seen.values().map(BTreeSet::len).sum::<usize>() as u64
    };
    eventually("everything is read", async || places() >= stored).await;
    stop.stop();
    consumer.await.expect("no panic").expect("it stops");
    let seen = seen.lock().expect("not poisoned");
    seen.clone()
}
