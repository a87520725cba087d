//! A run: form a cluster, load it, break and heal it, and look at what is left.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    io::Write as _,
    path::PathBuf,
    sync::Arc,
    time::Instant,
};

use anyhow::Context as _;
use rand::{SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};
use serde::Serialize;

use super::{
    faults,
    journal::{Journal, eventually},
    load::{self, Load},
    node::Node,
    observe,
    options::{FaultKind, Options},
    quiet::{backlog, gauges_are_new, is_level, outgoing, undecided},
    world::{RECOVERY_MS_MAX, World},
};
use crate::checker::{Finding, History, Outcome, Replica, Report, Resolve, Violation, check};

/// From the end of sending to the last transaction decided, and again to the last message
/// delivered, and to replicas that are level.
const QUIET_MS_MAX: u64 = 30_000;
/// The same when the cluster did not go on before.
const STUCK_QUIET_MS_MAX: u64 = 3_000;
/// Time without faults before each round.
const CALM_MS: u64 = 300;

/// What a run came to.
#[derive(Debug, Serialize)]
pub struct Summary {
    /// Rounds that were done.
    pub rounds: u32,
    /// Nodes of the cluster.
    pub nodes: u64,
    /// Its data groups.
    pub groups: u32,
    /// What chose the faults.
    pub seed: u64,
    /// How often each fault struck.
    pub faults: BTreeMap<FaultKind, u32>,
    /// How often another one struck before the cluster had recovered.
    pub aftershocks: u32,
    /// Messages that were attempted.
    pub attempted: u64,
    /// Messages that were acknowledged.
    pub acknowledged: u64,
    /// Transactions that were attempted.
    pub transactions: u64,
    /// Messages on every replica at the end.
    pub stored: u64,
    /// Deliveries to consumers.
    pub delivered: u64,
    /// Acks that were confirmed to consumers.
    pub acks: u64,
    /// Sends that were refused: certainly not taken.
    pub refused: u64,
    /// Sends of which nobody was told what became of them.
    pub unknown: u64,
    /// Every broken promise and how often.
    #[serde(flatten)]
    pub violations: BTreeMap<Violation, u64>,
    /// What kept the cluster from going on, or from becoming quiet.
    pub stuck: Vec<String>,
    /// A few cases of each broken promise.
    pub examples: BTreeMap<Violation, Vec<String>>,
    /// From a fault of one node to service at the others, for each of them, in order.
    pub failovers_ms: Vec<u64>,
    /// From healing to everybody being served again, at most.
    pub recovery_ms_max: u64,
    /// And in the middle.
    pub recovery_ms_p50: u64,
    /// How long it all took.
    pub seconds: f64,
    /// Where data and histories are, when something is wrong.
    pub kept: Option<PathBuf>,
}

impl Summary {
    /// True when every promise was kept.
    pub fn is_clean(&self) -> bool {
        self.stuck.is_empty() && self.violations.values().all(|count| *count == 0)
    }
}

struct Run {
    world: World,
    journal: Arc<Journal>,
    load: Load,
    faults: BTreeMap<FaultKind, u32>,
    aftershocks: u32,
    stuck: Vec<String>,
    failovers_ms: Vec<u64>,
    recoveries_ms: Vec<u64>,
}

/// Does it all.
///
/// # Errors
///
/// When the cluster cannot be formed.
pub async fn run(options: &Options) -> anyhow::Result<Summary> {
    let began = Instant::now();
    let world = World::form(options).await?;
    world.create_topics().await?;
    let journal = Arc::new(Journal::default());
    world.heal_disks()?;
    let edges = world.edges();
    let load = Load::start(&journal, &edges, &world.topics).await?;
    let mut run = Run {
        world,
        journal,
        load,
        faults: BTreeMap::new(),
        aftershocks: 0,
        stuck: Vec::new(),
        failovers_ms: Vec::new(),
        recoveries_ms: Vec::new(),
    };
    let rounds = run.rounds(options).await;
    let replicas = run.quiesce().await;
    let history = run.history();
    let report = check(&history, &replicas);
    let mut summary = run.summary(&report, options, rounds);
    summary.acks = history.acks.len() as u64;
    summary.refused = count(&history, &Outcome::Refused);
    summary.unknown = count(&history, &Outcome::Unknown);
    summary.seconds = began.elapsed().as_secs_f64();
    if !summary.is_clean() {
        keep(options, &history, &replicas)?;
        summary.kept = Some(options.directory.clone());
    }
    drop(run);
    if summary.kept.is_none() {
        fs::remove_dir_all(&options.directory)?;
    }
    Ok(summary)
}

impl Run {
    /// How many rounds were done.
    async fn rounds(&mut self, options: &Options) -> u32 {
        let mut random = StdRng::seed_from_u64(options.seed);
        let mut deck = Vec::new();
        for round in 1..=options.rounds {
            if deck.is_empty() {
                deck.clone_from(&options.faults);
                deck.shuffle(&mut random);
            }
            let Some(kind) = deck.pop() else { break };
            tokio::time::sleep(std::time::Duration::from_millis(CALM_MS)).await;
            if let Err(error) = self.round(round, kind, options, &mut random).await {
                say(&format!("round {round}: {kind}: {error:#}"));
                self.stuck.push(format!("round {round}: {kind}: {error:#}"));
                return round;
            }
        }
        options.rounds
    }

    async fn round(
        &mut self,
        round: u32,
        kind: FaultKind,
        options: &Options,
        random: &mut StdRng,
    ) -> anyhow::Result<()> {
        let began = Instant::now();
        *self.faults.entry(kind).or_default() += 1;
        faults::spread(&mut self.world).await;
        let led = self.world.leaders().await;
        self.journal.set_filling(kind == FaultKind::DiskFull);
        let strike = faults::strike(&mut self.world, kind, random, true).await?;
        let mut done = strike.done;
        if let Some(failover_ms) = strike.failover_ms {
            self.failovers_ms.push(failover_ms);
            done = format!("{done}, others served after {failover_ms} ms");
        }
        let again = faults::strike_again(&mut self.world, &options.faults, random).await?;
        if let Some(again) = again {
            self.aftershocks += 1;
            done = format!("{done}; then {again}");
        }
        self.journal.set_filling(false);
        let down = faults::heal(&mut self.world)?;
        let healed = Instant::now();
        let before = self.journal.progress();
        let goes_on = eventually(RECOVERY_MS_MAX, async || {
            self.is_served(&before) && self.world.is_whole().await
        });
        if !goes_on.await {
            let status = self.world.status().await;
            let waiting = self.unserved(&before).join(", ");
            anyhow::bail!(
                "{done}; not whole {RECOVERY_MS_MAX} ms after healing; waiting: [{waiting}]; \
                 {status:?}"
            );
        }
        let recovery_ms = u64::try_from(healed.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.recoveries_ms.push(recovery_ms);
        let leads = self.world.leaders().await;
        say(&format!(
            "round {round}: {done}; started {down:?}; leaders {led:?} -> {leads:?}; \
             whole after {recovery_ms} ms; {:.1} s",
            began.elapsed().as_secs_f64()
        ));
        Ok(())
    }

    fn is_served(&self, before: &HashMap<String, u64>) -> bool {
        self.unserved(before).is_empty()
    }

    /// Those of which nothing was acknowledged since then.
    fn unserved(&self, before: &HashMap<String, u64>) -> Vec<String> {
        let now = self.journal.progress();
        let waiting = before
            .iter()
            .filter(|(who, count)| now.get(*who).unwrap_or(&0) <= count);
        waiting.map(|(who, _)| who.clone()).collect()
    }

    /// Ends the load, lets everything come to an end, and reads all replicas.
    async fn quiesce(&mut self) -> Vec<Replica> {
        self.load.end_sending(&self.journal).await;
        let limit_ms = match self.stuck.is_empty() {
            true => QUIET_MS_MAX,
            false => STUCK_QUIET_MS_MAX,
        };
        let edges: Vec<_> = self.world.nodes.iter().map(Node::uri).collect();
        let groups = self.world.topics.groups;
        let is_decided = eventually(limit_ms, async || undecided(&edges).await == Some(0));
        if !is_decided.await {
            let left = undecided(&edges).await;
            self.stuck.push(format!("undecided transactions: {left:?}"));
        }
        if groups > 1 {
            let http: Vec<_> = self.world.nodes.iter().map(Node::http).collect();
            gauges_are_new().await;
            let arrived = eventually(limit_ms, async || outgoing(&http, groups).await == Some(0));
            if !arrived.await {
                let left = outgoing(&http, groups).await;
                let left = format!("messages on their way to other data groups: {left:?}");
                self.stuck.push(left);
            }
        }
        let is_drained = eventually(limit_ms, async || backlog(&edges).await == Some(0));
        if !is_drained.await {
            let left = backlog(&edges).await;
            self.stuck.push(format!("undelivered messages: {left:?}"));
        }
        self.load.end_consuming(&self.journal).await;
        if !eventually(limit_ms, async || is_level(&edges, groups).await).await {
            self.stuck.push("the replicas are not level".to_owned());
        }
        let mut replicas = Vec::new();
        for edge in &edges {
            match observe::replica(edge, &self.world.topics).await {
                Ok(replica) => replicas.push(replica),
                Err(error) => self.stuck.push(format!("{error:#}")),
            }
        }
        replicas
    }

    /// What was noted, as far as it has come by now.
    fn history(&self) -> History {
        let mut history = self.journal.take();
        for transaction in &mut history.transactions {
            if transaction.resolved == Resolve::Unknown {
                transaction.resolved = Resolve::CheckedBack;
            }
        }
        for group in load::CONSUMER_GROUPS {
            for topic in &self.world.topics.consumed {
                history.drained.push((group.to_owned(), topic.name.clone()));
            }
        }
        history
    }

    fn summary(&mut self, report: &Report, options: &Options, rounds: u32) -> Summary {
        self.recoveries_ms.sort_unstable();
        self.failovers_ms.sort_unstable();
        let middle = self.recoveries_ms.get(self.recoveries_ms.len() / 2);
        let examples = |finding: &Finding| finding.examples.clone();
        Summary {
            rounds,
            nodes: options.nodes,
            groups: options.groups,
            seed: options.seed,
            faults: std::mem::take(&mut self.faults),
            aftershocks: self.aftershocks,
            attempted: report.attempted,
            acknowledged: report.acknowledged,
            transactions: report.transactions,
            stored: report.stored,
            delivered: report.delivered,
            acks: 0,
            refused: 0,
            unknown: 0,
            violations: report
                .findings
                .iter()
                .map(|(violation, finding)| (*violation, finding.count))
                .collect(),
            examples: report
                .findings
                .iter()
                .filter(|(_, finding)| finding.count > 0)
                .map(|(violation, finding)| (*violation, examples(finding)))
                .collect(),
            stuck: std::mem::take(&mut self.stuck),
            failovers_ms: std::mem::take(&mut self.failovers_ms),
            recovery_ms_max: self.recoveries_ms.last().copied().unwrap_or(0),
            recovery_ms_p50: middle.copied().unwrap_or(0),
            seconds: 0.0,
            kept: None,
        }
    }
}

/// Writes down what was attempted and what was found.
fn keep(options: &Options, history: &History, replicas: &[Replica]) -> anyhow::Result<()> {
    let write = |name: &str, content: String| {
        fs::write(options.directory.join(name), content).with_context(|| name.to_owned())
    };
    write("history.txt", format!("{history:#?}"))?;
    write("replicas.txt", format!("{replicas:#?}"))
}

fn count(history: &History, outcome: &Outcome) -> u64 {
    let sends = history.sends.iter();
    sends.filter(|send| send.outcome == *outcome).count() as u64
}

fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "chaos: {line}");
}
