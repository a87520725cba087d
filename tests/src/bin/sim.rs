//! Runs seeds of the simulated world.
//!
//! `sim --seeds A..B` runs them all and ends with 1 when one of them shows a mistake;
//! `--seeds A..A+1 --verbose` prints everything that happens in one.

#![allow(clippy::print_stdout, reason = "what it found is for whoever runs it")]

use std::{
    io::Write,
    process::ExitCode,
    str::FromStr,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use anyhow::Context;
use clap::Parser;
use outrigger_log::simulation::Plant;
use outrigger_tests::simulation::{Figures, Options, run};

/// Runs seeds of the simulated world.
#[derive(Debug, Parser)]
struct Arguments {
    /// From the first to before the last, or one alone.
    #[arg(long, default_value = "0..200")]
    seeds: Seeds,
    /// How many nodes; otherwise the seed decides.
    #[arg(long)]
    nodes: Option<u64>,
    /// Worlds with sagas.
    #[arg(long)]
    sagas: bool,
    /// A mistake to make on purpose.
    #[arg(long)]
    plant: Option<Plant>,
    /// Print everything that happens.
    #[arg(long)]
    verbose: bool,
    /// Threads, each with its own seeds.
    #[arg(long, default_value_t = 2)]
    threads: u64,
    /// Go on after a seed that has failed.
    #[arg(long)]
    all: bool,
    /// Run every seed twice and compare.
    #[arg(long)]
    twice: bool,
}

#[derive(Clone, Copy, Debug)]
struct Seeds {
    first: u64,
    end: u64,
}

impl FromStr for Seeds {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let number = |text: &str| text.parse().with_context(|| format!("{text} is no seed"));
        match text.split_once("..") {
            Some((first, end)) => Ok(Self {
                first: number(first)?,
                end: number(end)?,
            }),
            None => Ok(Self {
                first: number(text)?,
                end: number(text)? + 1,
            }),
        }
    }
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let start = Instant::now();
    let next = AtomicU64::new(arguments.seeds.first);
    let failed = AtomicU64::new(0);
    let messages = AtomicU64::new(0);
    let faults = AtomicU64::new(0);
    let sagas = Mutex::new(Figures::default());
    let results = std::thread::scope(|scope| {
        let work = || work(&arguments, &next, &failed, &messages, &faults, &sagas);
        let threads: Vec<_> = (0..arguments.threads).map(|_| scope.spawn(work)).collect();
        let ended = threads.into_iter().map(|thread| thread.join());
        ended.collect::<Vec<_>>()
    });
    for result in results {
        result.map_err(|_| anyhow::anyhow!("a run has panicked"))??;
    }
    let failed = failed.load(Ordering::Relaxed);
    println!(
        "seeds {}..{}: {failed} failed, {} acknowledged messages, {} faults, {:.1?}",
        arguments.seeds.first,
        next.load(Ordering::Relaxed).min(arguments.seeds.end),
        messages.load(Ordering::Relaxed),
        faults.load(Ordering::Relaxed),
        start.elapsed()
    );
    if arguments.sagas {
        let sagas = sagas.into_inner().unwrap_or_else(PoisonError::into_inner);
        println!("{sagas}");
    }
    Ok(match failed {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

fn work(
    arguments: &Arguments,
    next: &AtomicU64,
    failed: &AtomicU64,
    messages: &AtomicU64,
    faults: &AtomicU64,
    sagas: &Mutex<Figures>,
) -> anyhow::Result<()> {
    loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        let enough = !arguments.all && failed.load(Ordering::Relaxed) > 0;
        if seed >= arguments.seeds.end || enough {
            return Ok(());
        }
        let options = Options {
            seed,
            nodes: arguments.nodes,
            plant: arguments.plant,
            sagas: arguments.sagas,
            keep_trace: arguments.verbose,
        };
        let verdict = run(options)?;
        faults.fetch_add(verdict.faults, Ordering::Relaxed);
        let acknowledged = verdict
            .report
            .as_ref()
            .map_or(0, |report| report.acknowledged);
        messages.fetch_add(acknowledged, Ordering::Relaxed);
        if let Some(figures) = verdict.sagas {
            *sagas.lock().unwrap_or_else(PoisonError::into_inner) += figures;
        }
        let mut out = std::io::stdout().lock();
        if arguments.verbose {
            out.write_all(verdict.trace.as_bytes())?;
            writeln!(out, "{verdict}")?;
        }
        if arguments.twice {
            let again = run(options)?;
            if again.digest != verdict.digest {
                failed.fetch_add(1, Ordering::Relaxed);
                writeln!(out, "seed {seed}: the second run was another one")?;
            }
        }
        if !verdict.is_good() {
            failed.fetch_add(1, Ordering::Relaxed);
            let plant = arguments.plant.map(|plant| format!(" --plant {plant}"));
            let nodes = arguments.nodes.map(|nodes| format!(" --nodes {nodes}"));
            let sagas = if arguments.sagas { " --sagas" } else { "" };
            writeln!(out, "{verdict}")?;
            writeln!(
                out,
                "replay: cargo run --release -p outrigger-tests --bin sim -- --seeds {seed}..{}{sagas}{}{} --verbose",
                seed + 1,
                nodes.unwrap_or_default(),
                plant.unwrap_or_default(),
            )?;
        }
    }
}
