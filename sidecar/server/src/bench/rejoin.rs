//! How long a node takes to catch up that was away from the beginning.

use std::time::Instant;

use outrigger_sdk::{Client, Message};
use serde::Serialize;

use super::cluster::Cluster;

const TOPIC: &str = "rejoin";
const BODY_BYTES: u64 = 4_096;
/// Messages written at a time.
const CHUNK: u64 = 4_096;

/// What catching up took.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    scenario: &'static str,
    nodes: u32,
    bytes: u64,
    /// From the start of the process.
    seconds: f64,
    mb_per_second: f64,
}

pub(super) async fn run(mut cluster: Cluster, nodes: u32, bytes: u64) -> anyhow::Result<Report> {
    let leader = cluster.leader(cluster.home(TOPIC)?).await?;
    let away = (1..=u64::from(nodes)).find(|id| *id != leader).unwrap_or(1);
    cluster.kill(away).await?;
    let client = Client::connect(cluster.served().await?.uri).await?;
    let producer = client.producer("bench");
    let body = bytes::Bytes::from(vec![b'x'; usize::try_from(BODY_BYTES)?]);
    let mut left = bytes.div_ceil(BODY_BYTES);
    while left > 0 {
        let chunk = left.min(CHUNK);
        let messages = (0..chunk).map(|_| Message::new(TOPIC, body.clone()));
        for receipt in producer.send_all(messages).await {
            receipt?;
        }
        left -= chunk;
    }
    let started = Instant::now();
    cluster.restart(away)?;
    cluster.caught_up(away, 0).await?;
    let seconds = started.elapsed().as_secs_f64();
    cluster.stop().await;
    Ok(Report {
        scenario: "rejoin",
        nodes,
        bytes,
        seconds: (seconds * 100.0).round() / 100.0,
        mb_per_second: (bytes as f64 / seconds / 1e6).round(),
    })
}

impl Report {
    #[expect(clippy::print_stdout, reason = "a command line answers its user")]
    pub(super) fn print(&self, json: bool) -> anyhow::Result<()> {
        if json {
            println!("{}", serde_json::to_string(self)?);
            return Ok(());
        }
        println!(
            "rejoin: a node of {} that was away for {} MB caught up in {:.2} s, {:.0} MB/s",
            self.nodes,
            self.bytes / 1_000_000,
            self.seconds,
            self.mb_per_second
        );
        Ok(())
    }
}
