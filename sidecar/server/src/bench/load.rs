//! Load from many tasks, and what they saw.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::{report::Report, served::Served, usage};

/// What one task, or all of them together, saw.
pub(super) struct Seen {
    pub(super) latency_us: Histogram<u64>,
    pub(super) acknowledged: u64,
    pub(super) errors: u64,
}

impl Seen {
    pub(super) fn new() -> anyhow::Result<Self> {
        const SIGNIFICANT_DIGITS: u8 = 3;
        const LATENCY_US_MAX: u64 = 600_000_000;
        Ok(Self {
            latency_us: Histogram::new_with_max(LATENCY_US_MAX, SIGNIFICANT_DIGITS)?,
            acknowledged: 0,
            errors: 0,
        })
    }

    /// One operation that began at `started` and was acknowledged now.
    pub(super) fn acknowledged(&mut self, started: Instant) {
        let took_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.latency_us.saturating_record(took_us);
        self.acknowledged += 1;
    }

    pub(super) fn add(&mut self, other: &Self) -> anyhow::Result<()> {
        self.latency_us.add(&other.latency_us)?;
        self.acknowledged += other.acknowledged;
        self.errors += other.errors;
        Ok(())
    }
}

/// CPU time of client, server and what it calls, between two moments.
pub(super) struct Meter {
    started: Instant,
    cpu: Duration,
    processes: Vec<u32>,
    helpers: Vec<u32>,
}

impl Meter {
    pub(super) fn start(served: &Served) -> Self {
        Self {
            started: Instant::now(),
            cpu: cpu(&served.processes, &served.helpers),
            processes: served.processes.clone(),
            helpers: served.helpers.clone(),
        }
    }

    pub(super) fn report(&self, scenario: &'static str, seen: &Seen) -> Report {
        let seconds = self.started.elapsed().as_secs_f64();
        let cpu = cpu(&self.processes, &self.helpers);
        let cpu = cpu.saturating_sub(self.cpu).as_secs_f64();
        let acknowledged = seen.acknowledged;
        Report {
            scenario,
            per_second: (acknowledged as f64 / seconds) as u64,
            p50_us: seen.latency_us.value_at_quantile(0.5),
            p99_us: seen.latency_us.value_at_quantile(0.99),
            p999_us: seen.latency_us.value_at_quantile(0.999),
            cpu_s_per_million: rounded(cpu * 1e6 / (acknowledged.max(1) as f64)),
            rss_peak_mb: rounded(
                self.processes
                    .iter()
                    .filter_map(|process| usage::peak_resident_mb(*process))
                    .fold(0.0, f64::max),
            ),
            processes: self.processes.len(),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            fdatasync_p50_us: 0,
            acknowledged,
            errors: seen.errors,
        }
    }
}

fn cpu(processes: &[u32], helpers: &[u32]) -> Duration {
    let own = std::process::id();
    let all = processes.iter().chain(helpers).chain([&own]);
    all.filter_map(|process| usage::cpu_time(*process)).sum()
}

fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}
