//! What was found.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;

use super::{History, Replica};

/// Examples that are kept of each violation.
const EXAMPLES_MAX: usize = 5;

/// A promise that was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Violation {
    /// Acknowledged, and not on every replica.
    Lost,
    /// At more than one place.
    Duplicated,
    /// There, though never attempted, refused, or rolled back; or delivered, though it is not
    /// there.
    Phantom,
    /// There, with other content than was sent.
    Altered,
    /// Acknowledged with another place than it has.
    Misplaced,
    /// Not in the order of its producer and key.
    Reordered,
    /// Replicas differ, in content or digest.
    Diverged,
    /// Offsets of a queue are not one after the other.
    Gap,
    /// A transaction of which only a part is visible, or whose recorded verdict is not that of
    /// the application.
    TornTransaction,
    /// Delivered again after its ack was durable.
    AckedRedelivered,
    /// Never delivered to a consumer group that had the time to receive everything.
    Undelivered,
}

impl Violation {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Lost,
        Self::Duplicated,
        Self::Phantom,
        Self::Altered,
        Self::Misplaced,
        Self::Reordered,
        Self::Diverged,
        Self::Gap,
        Self::TornTransaction,
        Self::AckedRedelivered,
        Self::Undelivered,
    ];
}

/// How often a promise was broken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How often.
    pub count: u64,
    /// A few cases.
    pub examples: Vec<String>,
}

/// The judgement of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Messages that were attempted.
    pub attempted: u64,
    /// Messages that were acknowledged as durable and visible.
    pub acknowledged: u64,
    /// Transactions that were attempted.
    pub transactions: u64,
    /// Messages on the replica that has most.
    pub stored: u64,
    /// Messages that were delivered, repetitions included.
    pub delivered: u64,
    /// Replicas that were compared.
    pub replicas: usize,
    /// What was found of each violation; also of those of which there is nothing.
    pub findings: BTreeMap<Violation, Finding>,
}

impl Report {
    pub(super) fn new(history: &History, replicas: &[Replica]) -> Self {
        let stored = replicas.iter().map(|replica| {
            let queues = replica.queues.values();
            queues.map(|queue| queue.messages.len() as u64).sum()
        });
        Self {
            attempted: history.attempted(),
            acknowledged: history.acknowledged(),
            transactions: history.transactions.len() as u64,
            stored: stored.max().unwrap_or(0),
            delivered: history.deliveries.len() as u64,
            replicas: replicas.len(),
            findings: Violation::ALL
                .into_iter()
                .map(|violation| (violation, Finding::default()))
                .collect(),
        }
    }

    /// True when no promise was broken.
    pub fn is_clean(&self) -> bool {
        self.findings.values().all(|finding| finding.count == 0)
    }

    /// How often this one was broken.
    pub fn count(&self, violation: Violation) -> u64 {
        self.findings
            .get(&violation)
            .map_or(0, |finding| finding.count)
    }

    pub(super) fn add(&mut self, violation: Violation, example: impl FnOnce() -> String) {
        let finding = self.findings.entry(violation).or_default();
        finding.count += 1;
        if finding.examples.len() < EXAMPLES_MAX {
            finding.examples.push(example());
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} attempted, {} acknowledged, {} stored on {} replicas, {} delivered",
            self.attempted, self.acknowledged, self.stored, self.replicas, self.delivered
        )?;
        for (violation, finding) in &self.findings {
            if finding.count > 0 {
                write!(f, "\n{violation:?}: {}", finding.count)?;
                for example in &finding.examples {
                    write!(f, "\n    {example}")?;
                }
            }
        }
        Ok(())
    }
}
