//! One run, from an empty directory to the reconciliation.

use std::{path::Path, time::Instant};

use sqlx::{Postgres, Sqlite};
use tempfile::TempDir;

use crate::{
    args::{Kind, Mode, RunArgs},
    chaos::Plan,
    database::ShopDatabase,
    input::{self, Order},
    messages,
    processes::find_or_build,
    progress::Progress,
    sagas,
    shop::Setting,
};

const ORDERS: usize = 5_000;
const DISAGREEMENTS_SHOWN: usize = 20;

/// What a run works on.
pub(crate) struct Run<'a> {
    pub(crate) setting: Setting<'a>,
    pub(crate) orders: &'a [Order],
    pub(crate) plan: &'a Plan,
    pub(crate) progress: &'a Progress,
    begun: Instant,
}

/// True when everything reconciles.
pub(crate) async fn run(args: &RunArgs) -> anyhow::Result<bool> {
    let binary = match &args.outrigger {
        Some(program) => program.clone(),
        None => find_or_build(args.json).await?,
    };
    let directory = TempDir::with_prefix("outrigger-shop-")?;
    let orders = read_orders(args, directory.path())?;
    let progress = Progress::new(args.json);
    let plan = if args.chaos {
        Plan::draw(args.seed, orders.len(), args.cluster.unwrap_or(0))
    } else {
        Plan::default()
    };
    let run = Run {
        setting: Setting {
            args,
            binary: &binary,
            directory: directory.path(),
        },
        orders: &orders,
        plan: &plan,
        progress: &progress,
        begun: Instant::now(),
    };
    let reconciled = match args.database {
        Kind::Sqlite => run.on::<Sqlite>().await,
        Kind::Postgres => run.on::<Postgres>().await,
    };
    progress.end();
    if args.keep {
        eprintln!("Kept in {}", directory.keep().display());
    }
    reconciled
}

impl Run<'_> {
    async fn on<DB: ShopDatabase>(&self) -> anyhow::Result<bool> {
        let services = match self.setting.args.mode {
            Mode::Messages => "three services",
            Mode::Saga | Mode::Tcc => "four services",
        };
        self.progress.say(&match self.setting.args.cluster {
            None => format!("Starting a sidecar and {services}"),
            Some(nodes) => format!("Starting {nodes} nodes, and {services} with sidecars"),
        });
        match self.setting.args.mode {
            Mode::Messages => messages::run::<DB>(self).await,
            Mode::Saga | Mode::Tcc => sagas::run::<DB>(self).await,
        }
    }

    /// How long it has taken so far, in seconds.
    pub(crate) fn seconds(&self) -> f64 {
        (self.begun.elapsed().as_secs_f64() * 100.0).round() / 100.0
    }

    /// Shows the first disagreements.
    pub(crate) fn show(&self, disagreements: &[String]) {
        self.progress.end();
        for disagreement in disagreements.iter().take(DISAGREEMENTS_SHOWN) {
            eprintln!("{disagreement}");
        }
        if disagreements.len() > DISAGREEMENTS_SHOWN {
            let more = disagreements.len() - DISAGREEMENTS_SHOWN;
            eprintln!("and {more} more disagreements");
        }
    }

    /// The last line for people.
    pub(crate) fn conclude(reconciled: bool) {
        println!(
            "{}",
            if reconciled {
                "Everything reconciles."
            } else {
                "IT DOES NOT RECONCILE."
            }
        );
    }
}

fn read_orders(args: &RunArgs, directory: &Path) -> anyhow::Result<Vec<Order>> {
    let mut orders = match &args.input {
        Some(file) => input::read(file)?,
        None => {
            // Through a file, so that what was ordered can be looked at afterwards.
            let file = directory.join("orders.csv");
            input::write(
                &file,
                &input::generate(args.orders.unwrap_or(ORDERS), args.seed),
            )?;
            input::read(&file)?
        }
    };
    orders.truncate(args.orders.unwrap_or(usize::MAX));
    anyhow::ensure!(!orders.is_empty(), "there are no orders");
    Ok(orders)
}
