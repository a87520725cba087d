use serde::Serialize;

/// What one scenario measured.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    /// What was measured.
    pub(super) scenario: &'static str,
    /// Acknowledged operations per second.
    pub(super) per_second: u64,
    /// Half of the operations were answered within this time.
    pub(super) p50_us: u64,
    /// 99 % were.
    pub(super) p99_us: u64,
    /// 99.9 % were.
    pub(super) p999_us: u64,
    /// CPU seconds of all processes and the client together, per million operations; of the
    /// client alone when the others are somebody else's.
    pub(super) cpu_s_per_million: f64,
    /// The most memory that one of the processes had resident; 0 when they are somebody
    /// else's.
    pub(super) rss_peak_mb: f64,
    /// Processes that were started: a sidecar, or the nodes of a cluster.
    pub(super) processes: usize,
    /// Cores that they and the client shared.
    pub(super) cores: usize,
    /// A bare `fdatasync` of 4 KiB on the same directory in the same run.
    pub(super) fdatasync_p50_us: u64,
    /// Operations that were acknowledged.
    pub(super) acknowledged: u64,
    /// Operations that failed.
    pub(super) errors: u64,
}

impl Report {
    #[expect(clippy::print_stdout, reason = "a command line answers its user")]
    pub(super) fn print(&self, json: bool) -> anyhow::Result<()> {
        if json {
            println!("{}", serde_json::to_string(self)?);
            return Ok(());
        }
        println!(
            "{}: {} per second; p50 {} us, p99 {} us, p99.9 {} us",
            self.scenario, self.per_second, self.p50_us, self.p99_us, self.p999_us
        );
        println!(
            "  {} acknowledged, {} errors; {:.2} CPU s per million (client, and what was started \
             here: {} on {} cores); peak {:.0} MB resident; bare fdatasync p50 {} us",
            self.acknowledged,
            self.errors,
            self.cpu_s_per_million,
            match self.processes {
                0 => "nothing".to_owned(),
                1 => "a sidecar".to_owned(),
                nodes => format!("{nodes} nodes"),
            },
            self.cores,
            self.rss_peak_mb,
            self.fdatasync_p50_us
        );
        Ok(())
    }
}
