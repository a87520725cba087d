use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures::{StreamExt as _, stream::FuturesUnordered};
use outrigger_proto::cluster::{StatusRequest, StatusResponse, cluster_client::ClusterClient};
use tokio::{
    sync::{Notify, watch},
    time::{sleep, timeout},
};

use super::{Options, Target, pool::Pool};

/// How the leader is looked for.
#[derive(Clone, Debug)]
pub struct FinderOptions {
    /// How long a node may take to say who leads. Default 400.
    pub answer_ms_max: u64,
    /// How often the leader is asked whether it still leads. Default 200.
    pub look_interval_ms: u64,
    /// How often all nodes are asked while no leader is known. Default 25.
    pub search_interval_ms: u64,
    /// Nodes that are remembered, the given ones included. Default 32.
    pub nodes_max: usize,
}

impl Default for FinderOptions {
    fn default() -> Self {
        Self {
            answer_ms_max: 400,
            look_interval_ms: 200,
            search_interval_ms: 25,
            nodes_max: 32,
        }
    }
}

/// Keeps finding the leader of a cluster through any of its nodes.
pub struct Finder {
    options: FinderOptions,
    pool: Pool,
    /// Where nodes serve applications: the given ones, and those that they named.
    given: Vec<String>,
    learned: BTreeSet<String>,
    known: Known,
    target: watch::Sender<Target>,
}

/// The newest that any node has said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Known {
    cluster_id: String,
    term: u64,
}

/// A node that is said to lead.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Leader {
    cluster_id: String,
    term: u64,
    edge: String,
}

impl Finder {
    /// Starts from these addresses for applications, as in `127.0.0.1:7070`.
    #[must_use]
    pub fn new(given: Vec<String>, target: watch::Sender<Target>, options: FinderOptions) -> Self {
        Self {
            options,
            pool: Pool::new(Options::default()),
            given,
            learned: BTreeSet::new(),
            known: Known::default(),
            target,
        }
    }

    /// Looks until nobody wants to know any more; at once when `doubt` is called.
    pub async fn run(mut self, doubt: Arc<Notify>) {
        let mut leader: Option<Leader> = None;
        while !self.target.is_closed() {
            leader = match leader {
                Some(leader) => self.still_leads(leader).await,
                None => self.search().await,
            };
            self.tell(leader.as_ref());
            let pause_ms = match leader {
                Some(_) => self.options.look_interval_ms,
                None => self.options.search_interval_ms,
            };
            let pause = sleep(Duration::from_millis(pause_ms));
            if leader.is_some() {
                // Every call that fails doubts. One look answers all of them.
                let _ = timeout(Duration::from_millis(pause_ms), doubt.notified()).await;
                sleep(Duration::from_millis(
                    self.options.search_interval_ms.min(5),
                ))
                .await;
            } else {
                pause.await;
            }
        }
    }

    fn tell(&self, leader: Option<&Leader>) {
        let now = match leader {
            Some(leader) => Target::At(leader.edge.clone()),
            None => Target::Nobody,
        };
        self.target.send_if_modified(|target| {
            let changed = *target != now;
            if changed {
                match &now {
                    Target::At(edge) => tracing::info!(leader = edge, "the leader is found"),
                    Target::Here | Target::Nobody => tracing::info!("no leader is known"),
                }
            }
            *target = now;
            changed
        });
    }

    /// The leader, when it says itself that it still leads; otherwise whom it or another node
    /// names instead.
    async fn still_leads(&mut self, leader: Leader) -> Option<Leader> {
        match self.ask(&leader.edge).await.as_ref().and_then(leader_of) {
            Some(now) if now.edge == leader.edge && self.is_news(&now) => Some(now),
            _ => self.search().await,
        }
    }

    /// Asks every node who leads. Who is named last has to say so itself: the others go on
    /// naming a leader that died until they elect the next one.
    async fn search(&mut self) -> Option<Leader> {
        let nodes: BTreeSet<String> = self.given.iter().chain(&self.learned).cloned().collect();
        let mut asked: FuturesUnordered<_> = nodes.iter().map(|edge| self.ask(edge)).collect();
        let mut answers = Vec::new();
        while let Some(answer) = asked.next().await {
            answers.extend(answer);
        }
        drop(asked);
        for answer in &answers {
            self.learn(answer);
        }
        let mut named: Vec<Leader> = answers.iter().filter_map(leader_of).collect();
        named.sort_by(|one, other| (other.term, &other.edge).cmp(&(one.term, &one.edge)));
        named.dedup();
        for leader in named {
            if !self.is_news(&leader) {
                continue;
            }
            let itself = self.ask(&leader.edge).await;
            if let Some(now) = itself.as_ref().and_then(leader_of)
                && now.edge == leader.edge
                && self.is_news(&now)
            {
                self.known = Known {
                    cluster_id: now.cluster_id.clone(),
                    term: now.term,
                };
                return Some(now);
            }
        }
        None
    }

    /// False of a leader that was replaced and does not know it yet.
    fn is_news(&self, leader: &Leader) -> bool {
        leader.cluster_id != self.known.cluster_id || leader.term >= self.known.term
    }

    fn learn(&mut self, answer: &StatusResponse) {
        for node in answer
            .members
            .iter()
            .filter_map(|member| member.node.as_ref())
        {
            let room = self.given.len() + self.learned.len() < self.options.nodes_max;
            if room && !node.edge.is_empty() && !self.given.contains(&node.edge) {
                self.learned.insert(node.edge.clone());
            }
        }
    }

    async fn ask(&self, edge: &str) -> Option<StatusResponse> {
        let channel = self.pool.channel(edge, 0).ok()?;
        let limit = Duration::from_millis(self.options.answer_ms_max);
        let mut client = ClusterClient::new(channel);
        let answer = timeout(limit, client.status(StatusRequest {})).await.ok()?;
        match answer {
            Ok(answer) => Some(answer.into_inner()),
            Err(status) => {
                tracing::debug!(node = edge, %status, "a node does not say who leads");
                None
            }
        }
    }
}

fn leader_of(answer: &StatusResponse) -> Option<Leader> {
    let mut nodes = answer
        .members
        .iter()
        .filter_map(|member| member.node.as_ref());
    let leader = nodes.find(|node| answer.leader != 0 && node.id == answer.leader)?;
    (!leader.edge.is_empty()).then(|| Leader {
        cluster_id: answer.cluster_id.clone(),
        term: answer.term,
        edge: leader.edge.clone(),
    })
}
