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
    /// CPU seconds of sidecar and client together, per million operations; of the client
    /// alone when the sidecar is somebody else's.
    pub(super) cpu_s_per_million: f64,
    /// The most memory that the sidecar had resident; 0 when it is somebody else's.
    pub(super) rss_peak_mb: f64,
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
            "  {} acknowledged, {} errors; {:.2} CPU s per million (client, and sidecar if started here); \
             peak {:.0} MB resident; bare fdatasync p50 {} us",
            self.acknowledged,
            self.errors,
            self.cpu_s_per_million,
            self.rss_peak_mb,
            self.fdatasync_p50_us
        );
        Ok(())
    }
}
