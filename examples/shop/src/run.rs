//! One run, from an empty directory to the reconciliation.

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use outrigger_sdk::{Client, admin::Admin};
use sqlx::{Postgres, Sqlite};
use tempfile::TempDir;

use crate::{
    args::{Kind, RunArgs, ServiceName},
    catalogue::initial_stock,
    chaos::Plan,
    customers::{Http, place_all},
    database::ShopDatabase,
    input::{self, Order},
    processes::{
        Cluster, Failures, Sidecar, Supervised, failures, find_or_build, free_address, service,
    },
    progress::Progress,
    reconcile::{Readers, Report, reconcile},
    services::{POINTS_GROUP, STOCK_GROUP, order::Status},
    setup::Databases,
};

const ORDERS: usize = 5_000;
const READY_MAX: Duration = Duration::from_secs(30);
/// How long the run waits for the last effects before it counts what is missing.
const SETTLE_MAX: Duration = Duration::from_secs(90);
/// When nothing has been on its way for so long, nothing more will come.
const QUIET: Duration = Duration::from_secs(3);
const SETTLE_POLL: Duration = Duration::from_millis(100);
const DISAGREEMENTS_SHOWN: usize = 20;

/// True when everything reconciles.
pub(crate) async fn run(args: &RunArgs) -> anyhow::Result<bool> {
    let binary = find_or_build(args.json).await?;
    let directory = TempDir::with_prefix("outrigger-shop-")?;
    let orders = read_orders(args, directory.path())?;
    let progress = Progress::new(args.json);
    let reconciled = match args.database {
        Kind::Sqlite => run_on::<Sqlite>(args, &binary, directory.path(), &orders, &progress).await,
        Kind::Postgres => {
            run_on::<Postgres>(args, &binary, directory.path(), &orders, &progress).await
        }
    };
    progress.end();
    if args.keep {
        eprintln!("Kept in {}", directory.keep().display());
    }
    reconciled
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

/// What keeps the log of a run.
#[derive(Debug, Clone, Copy)]
struct Kept {
    /// 0 when a sidecar keeps it alone.
    nodes: u8,
    /// Its data groups.
    groups: u32,
}

/// The processes of a run.
pub(crate) struct Shop {
    /// Without nodes when the sidecar has a log of its own.
    pub(crate) cluster: Cluster,
    /// One for all services, or one for each of them.
    pub(crate) sidecars: Vec<Sidecar>,
    pub(crate) order: Supervised,
    stock: Supervised,
    points: Supervised,
    order_url: String,
}

impl Shop {
    async fn start(
        kept: Kept,
        binary: &Path,
        directory: &Path,
        databases: &Databases,
        plan: &Plan,
        failures: &Failures,
        http: &Http,
    ) -> anyhow::Result<Self> {
        let (cluster, sidecars) = start_log(kept, binary, directory, databases, failures)?;
        for url in cluster
            .ready_urls()
            .chain(sidecars.iter().map(Sidecar::ready_url))
        {
            http.wait_until_ready(&url, READY_MAX).await?;
        }
        let addresses = [free_address()?, free_address()?, free_address()?];
        let [order_at, stock_at, points_at] = addresses;
        let uris: Vec<String> = sidecars.iter().map(Sidecar::uri).collect();
        let start = |name: ServiceName, listen, database: &str, crash_at: &[u64]| {
            let uri = uris.get(name as usize).or(uris.first());
            service(
                name,
                listen,
                database,
                uri.map_or("", String::as_str),
                crash_at.to_vec(),
                directory,
                failures,
            )
        };
        let order = start(
            ServiceName::Order,
            order_at,
            &databases.orders,
            &plan.order_crashes,
        )?;
        let stock = start(
            ServiceName::Stock,
            stock_at,
            &databases.stock,
            &plan.stock_crashes,
        )?;
        let points = start(
            ServiceName::Points,
            points_at,
            &databases.points,
            &plan.points_crashes,
        )?;
        for address in addresses {
            http.wait_until_ready(&format!("http://{address}/health"), READY_MAX)
                .await?;
        }
        Ok(Self {
            cluster,
            sidecars,
            order,
            stock,
            points,
            order_url: format!("http://{order_at}/orders"),
        })
    }

    /// The log's, through a sidecar.
    pub(crate) async fn admin(&self) -> anyhow::Result<Admin> {
        let sidecar = self.sidecars.first().context("there is no sidecar")?;
        Ok(Client::connect(sidecar.uri()).await?.admin())
    }

    fn kills(&self) -> u64 {
        let sidecars = self.sidecars.iter().map(|sidecar| &sidecar.process);
        let processes = sidecars.chain([&self.order, &self.stock, &self.points]);
        processes.map(Supervised::kills).sum::<u64>() + self.cluster.kills()
    }

    /// The consumers first, so that their last acks find a sidecar, and the log last.
    async fn stop(self) -> anyhow::Result<()> {
        self.order.stop().await?;
        self.stock.stop().await?;
        self.points.stop().await?;
        for sidecar in self.sidecars {
            sidecar.process.stop().await?;
        }
        self.cluster.stop().await
    }
}

/// One sidecar with a log of its own, or a cluster and a sidecar for each service, in the order
/// of [`ServiceName`].
fn start_log(
    Kept { nodes, groups }: Kept,
    binary: &Path,
    directory: &Path,
    databases: &Databases,
    failures: &Failures,
) -> anyhow::Result<(Cluster, Vec<Sidecar>)> {
    let (program, orders) = (|| binary.to_owned(), &databases.orders);
    if nodes == 0 {
        let sidecar = Sidecar::start(groups, program(), directory, orders, failures)?;
        return Ok((Cluster::default(), vec![sidecar]));
    }
    let cluster = Cluster::start(binary, directory, usize::from(nodes), groups, failures)?;
    let edges = cluster.edges();
    let sidecars = [ServiceName::Order, ServiceName::Stock, ServiceName::Points]
        .map(|name| Sidecar::start_before(&edges, name, program(), directory, orders, failures))
        .into_iter()
        .collect::<anyhow::Result<_>>()?;
    Ok((cluster, sidecars))
}

async fn run_on<DB: ShopDatabase>(
    args: &RunArgs,
    binary: &Path,
    directory: &Path,
    orders: &[Order],
    progress: &Progress,
) -> anyhow::Result<bool> {
    let begun = Instant::now();
    let initial = initial_stock(orders);
    let nodes = args.cluster.unwrap_or(0);
    let plan = if args.chaos {
        Plan::draw(args.seed, orders.len(), nodes)
    } else {
        Plan::default()
    };
    progress.say(&match nodes {
        0 => "Starting a sidecar and three services".to_owned(),
        _ => format!("Starting {nodes} nodes, and three services with a sidecar each"),
    });
    let databases = Databases::create(args, directory, &initial).await?;
    let readers = Readers::<DB>::open(&databases).await?;
    let (failures, mut failed) = failures();
    let http = Http::new();
    let kept = Kept {
        nodes,
        groups: args.groups,
    };
    let starting = Shop::start(kept, binary, directory, &databases, &plan, &failures, &http);
    let shop = failed.unless(starting).await?;

    let work = async {
        let placing = place_all(&http, &shop.order_url, orders, args.concurrency, progress);
        let disturbing = plan.carry_out(progress.watch_answered(), &shop, &http);
        let (answers, disturbed) = tokio::join!(placing, disturbing);
        let answers = answers?;
        disturbed?;
        let unresolved = settle(&readers, &shop.admin().await?, progress).await?;
        anyhow::Ok((answers, unresolved))
    };
    let (answers, unresolved) = failed.unless(work).await?;
    let kills = shop.kills();
    shop.stop().await?;
    let books = readers.read().await?;
    readers.close().await;
    databases.remove(args.keep).await?;

    let (report, disagreements) = reconcile(&books, &answers, &initial, unresolved);
    let report = Report {
        kills,
        seconds: (begun.elapsed().as_secs_f64() * 100.0).round() / 100.0,
        ..report
    };
    progress.end();
    tell(args, &report, &disagreements, &answers)
}

/// Waits until every committed order has had its effects, no transaction is unresolved and
/// every message is acknowledged. Returns how many transactions are unresolved at the end.
async fn settle<DB: ShopDatabase>(
    readers: &Readers<DB>,
    admin: &Admin,
    progress: &Progress,
) -> anyhow::Result<u64> {
    let until = Instant::now() + SETTLE_MAX;
    let mut is_begun = false;
    let mut moved_at = Instant::now();
    loop {
        let (committed, deducted, credited) = readers.counts().await?;
        if !is_begun {
            progress.begin("settling", usize::try_from(committed)?);
            is_begun = true;
        }
        progress.set(usize::try_from(deducted.min(credited))?);
        // An error means that the sidecar is just starting again.
        let log = async {
            let health = admin.health().await?;
            let mut backlog = 0;
            for group in [STOCK_GROUP, POINTS_GROUP] {
                let group = admin.consumer_group(group).await?;
                backlog += group.queues.iter().map(|queue| queue.backlog).sum::<u64>();
            }
            let unresolved = health.unresolved_transactions + health.parked_transactions;
            Ok::<_, outrigger_sdk::Refusal>((unresolved, backlog))
        };
        match log.await {
            Ok((0, 0)) if committed == deducted && committed == credited => return Ok(0),
            Ok((0, 0)) if moved_at.elapsed() > QUIET => return Ok(0),
            Ok((0, 0)) => {}
            Ok((unresolved, backlog)) if Instant::now() > until => {
                progress.say(&format!(
                    "Not settled after {SETTLE_MAX:?}: {committed} committed, {deducted} deducted, \
                     {credited} credited, {unresolved} unresolved, {backlog} not acknowledged"
                ));
                return Ok(unresolved);
            }
            Err(refusal) if Instant::now() > until => {
                return Err(refusal).context("the sidecar does not answer");
            }
            Ok(_) | Err(_) => moved_at = Instant::now(),
        }
        tokio::time::sleep(SETTLE_POLL).await;
    }
}

/// Prints the result; true when everything reconciles.
fn tell(
    args: &RunArgs,
    report: &Report,
    disagreements: &[String],
    answers: &BTreeMap<String, Status>,
) -> anyhow::Result<bool> {
    for disagreement in disagreements.iter().take(DISAGREEMENTS_SHOWN) {
        eprintln!("{disagreement}");
    }
    if disagreements.len() > DISAGREEMENTS_SHOWN {
        let more = disagreements.len() - DISAGREEMENTS_SHOWN;
        eprintln!("and {more} more disagreements");
    }
    let reconciled = disagreements.is_empty()
        && (report.lost, report.duplicated, report.phantom) == (0, 0, 0)
        && report.orders_placed == answers.len()
        && report.orders_committed + report.orders_refused == report.orders_placed;
    if args.json {
        println!("{}", serde_json::to_string(report)?);
        return Ok(reconciled);
    }
    println!(
        "{} orders placed: {} committed, {} refused",
        report.orders_placed, report.orders_committed, report.orders_refused
    );
    println!(
        "{} stock deductions, {} points credits",
        report.stock_deducted, report.points_credited
    );
    println!(
        "{} lost, {} duplicated, {} phantom; {} kills; {} s",
        report.lost, report.duplicated, report.phantom, report.kills, report.seconds
    );
    println!(
        "{}",
        if reconciled {
            "Everything reconciles."
        } else {
            "IT DOES NOT RECONCILE."
        }
    );
    Ok(reconciled)
}
