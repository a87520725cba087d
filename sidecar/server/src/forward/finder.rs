use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt as _, stream::FuturesUnordered};
use outrigger_proto::cluster::{StatusRequest, StatusResponse, cluster_client::ClusterClient};
use tokio::{
    sync::{Notify, watch},
    time::{sleep, timeout},
};

use super::{Options, Target, pool::Pool};

/// How the leaders are looked for.
#[derive(Clone, Debug)]
pub struct FinderOptions {
    /// How long a node may take to say who leads. Default 400.
    pub answer_ms_max: u64,
    /// How often the leaders are asked whether they still lead. Default 200.
    pub look_interval_ms: u64,
    /// How often all nodes are asked while a leader is not known. Default 25.
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

/// Where the leaders of all data groups are, as far as a [`Finder`] has found them.
#[derive(Clone, Debug)]
pub struct Leaders(watch::Receiver<Vec<watch::Receiver<Target>>>);

impl Leaders {
    /// One for each data group, once a node has said how many there are; `None` when nobody
    /// looks any more.
    pub async fn known(&mut self) -> Option<Vec<watch::Receiver<Target>>> {
        let known = self.0.wait_for(|targets| !targets.is_empty()).await;
        known.ok().map(|targets| targets.clone())
    }
}

/// Keeps finding the leaders of a cluster's data groups through any of its nodes.
pub struct Finder {
    options: FinderOptions,
    pool: Pool,
    /// Where nodes serve applications: the given ones, and those that they named.
    given: Vec<String>,
    learned: BTreeSet<String>,
    groups: Vec<Group>,
    told: watch::Sender<Vec<watch::Receiver<Target>>>,
}

/// What is known of one data group.
struct Group {
    group: u32,
    known: Known,
    leader: Option<Leader>,
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

/// What nodes have answered in one round of questions.
type Answers = BTreeMap<String, Option<StatusResponse>>;

impl Finder {
    /// Starts from these addresses for applications, as in `127.0.0.1:7070`.
    #[must_use]
    pub fn new(given: Vec<String>, options: FinderOptions) -> (Self, Leaders) {
        let (told, leaders) = watch::channel(Vec::new());
        let finder = Self {
            options,
            pool: Pool::new(Options::default()),
            given,
            learned: BTreeSet::new(),
            groups: Vec::new(),
            told,
        };
        (finder, Leaders(leaders))
    }

    /// Looks until nobody wants to know any more; at once when `doubt` is called.
    pub async fn run(mut self, doubt: Arc<Notify>) {
        while !self.is_unwanted() {
            self.look().await;
            if self.lacks_leader() {
                sleep(Duration::from_millis(self.options.search_interval_ms)).await;
            } else {
                let pause = Duration::from_millis(self.options.look_interval_ms);
                // Every call that fails doubts. One look answers all of them.
                let _ = timeout(pause, doubt.notified()).await;
                let settle_ms = self.options.search_interval_ms.min(5);
                sleep(Duration::from_millis(settle_ms)).await;
            }
        }
    }

    /// What was told holds a receiver of each group itself.
    fn is_unwanted(&self) -> bool {
        let is_watched = |group: &Group| group.target.receiver_count() > 1;
        self.told.is_closed() && !self.groups.iter().any(is_watched)
    }

    fn lacks_leader(&self) -> bool {
        self.groups.is_empty() || self.groups.iter().any(|group| group.leader.is_none())
    }

    /// Leaders are believed when they say themselves that they still lead; otherwise whom they
    /// or other nodes name instead has to say so itself: the others go on naming a leader that
    /// died until they elect the next one.
    async fn look(&mut self) {
        let leaders = self.groups.iter().filter_map(|group| group.leader.as_ref());
        let leaders: BTreeSet<String> = leaders.map(|leader| leader.edge.clone()).collect();
        let mut answers = Answers::new();
        self.ask_all(leaders, &mut answers).await;
        for group in &mut self.groups {
            group.confirm(&answers);
        }
        if self.lacks_leader() {
            self.search(&mut answers).await;
        }
        for group in &mut self.groups {
            group.tell();
        }
    }

    /// Asks every node who leads, and those that are named whether they do.
    async fn search(&mut self, answers: &mut Answers) {
        let nodes: BTreeSet<String> = self.given.iter().chain(&self.learned).cloned().collect();
        self.ask_all(nodes, answers).await;
        for answer in answers.values().flatten() {
            self.learn(answer);
        }
        let lacking = self.groups.iter().filter(|group| group.leader.is_none());
        let named = lacking.flat_map(|group| group.named(answers));
        let named: BTreeSet<String> = named.map(|leader| leader.edge).collect();
        self.ask_all(named, answers).await;
        for group in &mut self.groups {
            if group.leader.is_none() {
                group.choose(answers);
            }
        }
    }

    /// Remembers nodes, and how many data groups there are.
    fn learn(&mut self, answer: &StatusResponse) {
        let members = answer.members.iter();
        for node in members.filter_map(|member| member.node.as_ref()) {
            let room = self.given.len() + self.learned.len() < self.options.nodes_max;
            if room && !node.edge.is_empty() && !self.given.contains(&node.edge) {
                self.learned.insert(node.edge.clone());
            }
        }
        let count = data_groups(answer);
        if self.groups.is_empty() {
            let (groups, targets) = (0..count).map(Group::new).unzip();
            self.groups = groups;
            self.told.send_replace(targets);
        } else if self.groups.len() != count as usize {
            tracing::error!(
                cluster = answer.cluster_id,
                data_groups = count,
                known = self.groups.len(),
                "a node of a cluster with another number of data groups is left alone"
            );
        }
    }

    /// Asks those that have not been asked in this round.
    async fn ask_all(&self, nodes: BTreeSet<String>, answers: &mut Answers) {
        let new = nodes.into_iter().filter(|edge| !answers.contains_key(edge));
        let asked = new.map(async |edge| {
            let answer = self.ask(&edge).await;
            (edge, answer)
        });
        let mut asked: FuturesUnordered<_> = asked.collect();
        while let Some((edge, answer)) = asked.next().await {
            answers.insert(edge, answer);
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

impl Group {
    fn new(group: u32) -> (Self, watch::Receiver<Target>) {
        let (target, targets) = watch::channel(Target::Nobody);
        let group = Self {
            group,
            known: Known::default(),
            leader: None,
            target,
        };
        (group, targets)
    }

    /// Whether the leader says that it still leads.
    fn confirm(&mut self, answers: &Answers) {
        let leader = self.leader.take();
        let leader = leader.and_then(|leader| self.itself(&leader.edge, answers));
        self.believe(leader);
    }

    fn believe(&mut self, leader: Option<Leader>) {
        if let Some(leader) = &leader {
            self.known = Known {
                cluster_id: leader.cluster_id.clone(),
                term: leader.term,
            };
        }
        self.leader = leader;
    }

    /// Whom nodes name that is not known to have been replaced, the newest one first.
    fn named(&self, answers: &Answers) -> Vec<Leader> {
        let answers = answers.values().flatten();
        let named = answers.filter_map(|answer| leader_of(answer, self.group));
        let mut named: Vec<Leader> = named.filter(|leader| self.is_news(leader)).collect();
        named.sort_by(|one, other| (other.term, &other.edge).cmp(&(one.term, &one.edge)));
        named.dedup();
        named
    }

    fn choose(&mut self, answers: &Answers) {
        let mut named = self.named(answers).into_iter();
        let leader = named.find_map(|leader| self.itself(&leader.edge, answers));
        self.believe(leader);
    }

    /// The node at an address, when it says that it leads itself.
    fn itself(&self, edge: &str, answers: &Answers) -> Option<Leader> {
        let answer = answers.get(edge)?.as_ref()?;
        let leader = leader_of(answer, self.group)?;
        (leader.edge == edge && self.is_news(&leader)).then_some(leader)
    }

    /// False of a leader that was replaced and does not know it yet.
    fn is_news(&self, leader: &Leader) -> bool {
        leader.cluster_id != self.known.cluster_id || leader.term >= self.known.term
    }

    fn tell(&self) {
        let now = match &self.leader {
            Some(leader) => Target::At(leader.edge.clone()),
            None => Target::Nobody,
        };
        let group = self.group;
        self.target.send_if_modified(|target| {
            let changed = *target != now;
            if changed {
                match &now {
                    Target::At(edge) => {
                        tracing::info!(group, leader = edge, "the leader is found");
                    }
                    Target::Here | Target::Nobody => tracing::info!(group, "no leader is known"),
                }
            }
            *target = now;
            changed
        });
    }
}

/// A program from before there were several has one.
fn data_groups(answer: &StatusResponse) -> u32 {
    u32::try_from(answer.data_groups.len()).map_or(1, |count| count.max(1))
}

fn leader_of(answer: &StatusResponse, group: u32) -> Option<Leader> {
    let (id, term) = match answer.data_groups.iter().find(|g| g.data_group == group) {
        Some(group) => (group.leader, group.term),
        None if group == 0 => (answer.leader, answer.term),
        None => return None,
    };
    let members = answer.members.iter();
    let mut nodes = members.filter_map(|member| member.node.as_ref());
    let leader = nodes.find(|node| id != 0 && node.id == id)?;
    (!leader.edge.is_empty()).then(|| Leader {
        cluster_id: answer.cluster_id.clone(),
        term,
        edge: leader.edge.clone(),
    })
}
