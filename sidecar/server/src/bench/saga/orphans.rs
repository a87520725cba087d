//! How fast the sagas of a process that was killed are taken over and finished, while one of
//! three participants is dead.

use std::{
    net::TcpListener,
    path::Path,
    time::{Duration, Instant},
};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use outrigger_sdk::{
    Client,
    saga::{self, Filter, Page, Status},
};
use serde::Serialize;
use tokio::time::sleep;

use super::{
    Arguments, DEFINITION,
    called::{Called, Counts},
    definition, load,
};
use crate::bench::sidecar::Sidecar;

/// Sagas whose last step lies with the dead participant, for each so many orphans.
const ORPHANS_FOR_A_DEAD_ONE: u32 = 3;
/// The name of their definition.
const DEAD: &str = "bench-dead";
/// The name of the orphans' definition.
const HELD: &str = "bench-held";
/// How long sagas may take to come to the step that is held, and to finish.
const PATIENCE: Duration = Duration::from_secs(600);
const POLL: Duration = Duration::from_millis(20);

/// What a crash showed.
#[derive(Clone, Debug, Serialize)]
pub(in crate::bench) struct Report {
    scenario: &'static str,
    orphans: u32,
    /// Sagas that cannot finish, because a participant is dead.
    waiting_for_the_dead: u32,
    /// Sagas started and finished per second before.
    normal_per_second: u64,
    /// Orphans finished per second, from the first to the last.
    per_second: u64,
    /// From the kill to the first call of an orphan, the wait for the lease included.
    taken_over_ms: u64,
    /// From the first call of an orphan to the end of the last.
    finished_ms: u64,
    /// Orphans that did not complete, and failed starts.
    errors: u64,
}

impl Report {
    /// Everything completed.
    pub(in crate::bench) fn is_good(&self) -> bool {
        self.errors == 0
    }

    #[expect(clippy::print_stdout, reason = "a command line answers its user")]
    pub(in crate::bench) fn print(&self, json: bool) -> anyhow::Result<()> {
        if json {
            println!("{}", serde_json::to_string(self)?);
            return Ok(());
        }
        println!(
            "{}: {} orphans taken over after {} ms and finished within {} ms: {} per second, {} per \
             second normally",
            self.scenario,
            self.orphans,
            self.taken_over_ms,
            self.finished_ms,
            self.per_second,
            self.normal_per_second
        );
        println!(
            "  {} sagas more wait for a participant that is dead; {} errors",
            self.waiting_for_the_dead, self.errors
        );
        Ok(())
    }
}

/// Measures the normal load, then a crash.
pub(in crate::bench) async fn run(
    arguments: &Arguments,
    directory: &Path,
    orphans: u32,
) -> anyhow::Result<Report> {
    let data = directory.join("data");
    let sidecar = Sidecar::start(&data, arguments.groups).await?;
    let sagas = client(&sidecar).await?;
    let mut called = Called::start().await?;
    let steps = super::steps(arguments, &called);
    sagas.define(&definition(DEFINITION, &steps)?).await?;
    let normal = load(arguments, &sidecar.served(), &called, &sagas).await?;

    let held = [called.prompt.clone(), called.holding.clone()];
    sagas.define(&definition(HELD, &held)?).await?;
    let dead = [called.prompt.clone(), nobody()?];
    sagas.define(&definition(DEAD, &dead)?).await?;
    let before = called.tell("hold").await?;
    let waiting = orphans.div_ceil(ORPHANS_FOR_A_DEAD_ONE);
    start(&sagas, DEAD, waiting, arguments.concurrency).await?;
    start(&sagas, HELD, orphans, arguments.concurrency).await?;
    let all_held = |counts: Counts| counts.held >= before.held + u64::from(orphans);
    wait_until(&mut called, "tell", all_held).await?;

    let killed = Instant::now();
    sidecar.kill().await?;
    let before = called.tell("release").await?;
    let sidecar = Sidecar::start(&data, arguments.groups).await?;
    wait_until(&mut called, "tell", |counts| counts.done > before.done).await?;
    let (taken_over, begun) = (killed.elapsed(), Instant::now());
    let sagas = client(&sidecar).await?;
    let all_done = |counts: Counts| counts.done >= before.done + u64::from(orphans);
    wait_until(&mut called, "tell", all_done).await?;
    let finished = wait_for_the_last(&sagas).await?;
    let finished_ms = millis(begun.elapsed());
    let completed = count(&sagas, HELD, &[Status::Completed]).await?;
    sidecar.stop().await;
    called.stop().await;
    Ok(Report {
        scenario: "saga-orphans",
        orphans,
        waiting_for_the_dead: waiting,
        normal_per_second: normal.per_second,
        per_second: u64::from(orphans) * 1_000 / finished_ms.max(1),
        taken_over_ms: millis(taken_over),
        finished_ms,
        errors: normal.errors + finished + u64::from(orphans).saturating_sub(completed),
    })
}

async fn client(sidecar: &Sidecar) -> anyhow::Result<saga::Client> {
    Ok(Client::connect(sidecar.served().uri).await?.sagas())
}

/// Starts sagas without waiting for their ends.
async fn start(
    sagas: &saga::Client,
    name: &'static str,
    count: u32,
    concurrency: u32,
) -> anyhow::Result<()> {
    let starts = stream::iter(0..count).map(|number| {
        let start = sagas.start(format!("{name}-{number}"), name, &());
        async move { start.await.map(drop) }
    });
    let starts = starts.buffer_unordered(concurrency as usize);
    Ok(starts.try_collect().await?)
}

/// Asks the participants until they have counted enough.
async fn wait_until(
    called: &mut Called,
    command: &str,
    enough: impl Fn(Counts) -> bool,
) -> anyhow::Result<()> {
    let begun = Instant::now();
    loop {
        let counts = called.tell(command).await?;
        if enough(counts) {
            return Ok(());
        }
        anyhow::ensure!(begun.elapsed() < PATIENCE, "after {PATIENCE:?}: {counts:?}");
        sleep(POLL).await;
    }
}

/// Waits until no orphan is under way; returns how many wait for a person.
async fn wait_for_the_last(sagas: &saga::Client) -> anyhow::Result<u64> {
    let begun = Instant::now();
    let under_way = [Status::Running, Status::Confirming, Status::Undoing];
    while count(sagas, HELD, &under_way).await? > 0 {
        anyhow::ensure!(begun.elapsed() < PATIENCE, "not all have ended");
        sleep(POLL).await;
    }
    count(sagas, HELD, &[Status::Parked]).await
}

async fn count(sagas: &saga::Client, name: &str, statuses: &[Status]) -> anyhow::Result<u64> {
    let filter = Filter {
        definition: name.to_owned(),
        statuses: statuses.to_vec(),
        ..Filter::default()
    };
    let (mut page, mut count) = (Page::default(), 0);
    loop {
        let (listed, next) = sagas.list(&filter, &page).await?;
        count += u64::try_from(listed.len())?;
        if next.is_last() {
            return Ok(count);
        }
        page = next;
    }
}

/// Where nobody listens.
fn nobody() -> anyhow::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    Ok(listener.local_addr()?.to_string())
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
