//! What to run, and how it ended.

use std::fmt;

use outrigger_log::simulation::Plant;

use super::sagas::Figures;
use crate::checker::Report;

/// What to run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Everything follows from it.
    pub seed: u64,
    /// How many nodes; chosen by the seed when not given.
    pub nodes: Option<u64>,
    /// A mistake to make on purpose.
    pub plant: Option<Plant>,
    /// There are sagas.
    pub sagas: bool,
    /// The trace is kept as text.
    pub keep_trace: bool,
}

/// How a run ended.
#[derive(Debug)]
pub struct Verdict {
    /// Its seed.
    pub seed: u64,
    /// A hash of everything that happened.
    pub digest: u128,
    /// What the checker found, after everything worked again.
    pub report: Option<Report>,
    /// Everything else that was wrong.
    pub problems: Vec<String>,
    /// How many nodes there were.
    pub nodes: u64,
    /// How often something was made to go wrong.
    pub faults: u64,
    /// What became of sagas, where there were some.
    pub sagas: Option<Figures>,
    /// Virtual time, in milliseconds.
    pub lasted_ms: u64,
    /// What happened, when that was asked for.
    pub trace: String,
}

impl Verdict {
    /// True when no promise was broken.
    pub fn is_good(&self) -> bool {
        self.problems.is_empty() && self.report.as_ref().is_some_and(Report::is_clean)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "seed {}: {} nodes, {} faults, {} ms, trace {:032x}",
            self.seed, self.nodes, self.faults, self.lasted_ms, self.digest
        )?;
        for problem in self.problems.iter().take(8) {
            write!(f, "\n  {problem}")?;
        }
        if let Some(report) = &self.report {
            write!(f, "\n  {report}")?;
        }
        Ok(())
    }
}
