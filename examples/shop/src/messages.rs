//! A run in which half-messages bind the services together.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use outrigger_sdk::admin::Admin;

use crate::{
    args::{RunArgs, ServiceName},
    catalogue::initial_stock,
    customers::{Http, Wish, place_all},
    database::ShopDatabase,
    input::Order,
    processes::failures,
    progress::Progress,
    reconcile::{Readers, Report, reconcile},
    run::Run,
    services::{
        POINTS_GROUP, STOCK_GROUP, Sold, effects,
        order::{self, Status},
    },
    setup::{Contents, Databases},
    shop::Shop,
};

/// How long the run waits for the last effects before it counts what is missing.
const SETTLE_MAX: Duration = Duration::from_secs(90);
/// When nothing has been on its way for so long, nothing more will come.
const QUIET: Duration = Duration::from_secs(3);
const SETTLE_POLL: Duration = Duration::from_millis(100);

/// True when everything reconciles.
pub(crate) async fn run<DB: ShopDatabase>(run: &Run<'_>) -> anyhow::Result<bool> {
    let (setting, progress) = (&run.setting, run.progress);
    let args = setting.args;
    let initial = initial_stock(run.orders);
    let contents = contents(&initial);
    let databases = Databases::create(args, setting.directory, &contents).await?;
    let readers = Readers::<DB>::open(&databases).await?;
    let (failures, mut failed) = failures();
    let http = Http::new();
    let starting = Shop::start(setting, &databases, run.plan, &failures, &http);
    let shop = failed.unless(starting).await?;
    let wishes = run.orders.iter().map(wish).collect::<Result<Vec<_>, _>>()?;

    let work = async {
        let placing = place_all(&http, shop.order_url(), &wishes, args.concurrency, progress);
        let disturbing = run.plan.carry_out(progress.watch_answered(), &shop, &http);
        let (answers, disturbed) = tokio::join!(placing, disturbing);
        let answers = answers?;
        disturbed?;
        let unresolved = settle(&readers, &shop.client().await?.admin(), progress).await?;
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
        seconds: run.seconds(),
        ..report
    };
    run.show(&disagreements);
    tell(args, &report, &disagreements, &answers)
}

fn contents(initial: &BTreeMap<String, i64>) -> [Contents; 3] {
    [
        Contents {
            service: ServiceName::Order,
            tables: &order::TABLES,
            rows: Some((order::PUT_ON_SHELF, initial.clone())),
        },
        Contents {
            service: ServiceName::Stock,
            tables: &effects::STOCK_TABLES,
            rows: Some((effects::PUT_IN_STOCK, initial.clone())),
        },
        Contents {
            service: ServiceName::Points,
            tables: &effects::POINTS_TABLES,
            rows: None,
        },
    ]
}

fn wish(order: &Order) -> anyhow::Result<Wish> {
    let sold = Sold {
        order_id: order.order_id.clone(),
        customer: order.customer.clone(),
        sku: order.sku.clone(),
        quantity: order.quantity,
        cents: order.cents()?,
    };
    Ok(Wish {
        order_id: order.order_id.clone(),
        body: serde_json::to_vec(&sold)?.into(),
    })
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
    Run::conclude(reconciled);
    Ok(reconciled)
}
