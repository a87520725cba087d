//! Orders as sagas, or in TCC: the services that take part, and a run that proves it.

mod basket;
mod books;
mod definition;
mod order;
mod participant;
mod reconcile;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::Router;
use futures::{StreamExt as _, TryStreamExt as _};
use outrigger_sdk::{Client, saga};
use sqlx::Pool;

use crate::{
    args::{ServiceArgs, ServiceName},
    catalogue::{initial_stock, scarce},
    customers::{Http, Wish, place_all},
    database::ShopDatabase,
    processes::failures,
    progress::Progress,
    run::Run,
    services::CrashPlan,
    setup::{Contents, Databases},
    shop::Shop,
};
use basket::baskets;
pub(crate) use basket::{Basket, Card};
use books::Books;
use reconcile::{Known, Report, reconcile};

/// How long the run waits for the last sagas before it counts what is missing.
const SETTLE_MAX: Duration = Duration::from_secs(90);
/// Sagas that are asked after at the same time.
const SETTLE_CONCURRENCY: usize = 32;
/// What everybody may spend: the bank refuses whom it wants.
const CARD_LIMIT_CENTS: i64 = 1_000_000_000;

/// What a service answers.
pub(crate) async fn api<DB: ShopDatabase>(
    args: &ServiceArgs,
    client: &Client,
    pool: Pool<DB>,
    crash: Arc<CrashPlan>,
) -> anyhow::Result<Router> {
    let participant = participant::api(args.name, pool, crash);
    match args.name {
        ServiceName::Order => {
            let orders = order::api(client, args.mode, &args.participants).await?;
            Ok(participant.merge(orders))
        }
        ServiceName::Stock | ServiceName::Points | ServiceName::Payments => Ok(participant),
    }
}

/// What there is before anybody orders.
struct Initial {
    stock: BTreeMap<String, i64>,
    points: BTreeMap<String, i64>,
    payments: BTreeMap<String, i64>,
}

/// True when everything reconciles.
pub(crate) async fn run<DB: ShopDatabase>(run: &Run<'_>) -> anyhow::Result<bool> {
    let (setting, progress) = (&run.setting, run.progress);
    let args = setting.args;
    let baskets = baskets(run.orders, args.seed)?;
    let initial = Initial {
        stock: initial_stock(run.orders),
        points: scarce(baskets.iter().map(|b| (&*b.customer, b.points))),
        payments: baskets
            .iter()
            .map(|basket| (basket.customer.clone(), CARD_LIMIT_CENTS))
            .collect(),
    };
    let contents = contents(&initial);
    let databases = Databases::create(args, setting.directory, &contents).await?;
    let (failures, mut failed) = failures();
    let http = Http::new();
    let starting = Shop::start(setting, &databases, run.plan, &failures, &http);
    let shop = failed.unless(starting).await?;
    let wishes = baskets.iter().map(wish).collect::<Result<Vec<_>, _>>()?;

    let work = async {
        let placing = place_all(&http, shop.order_url(), &wishes, args.concurrency, progress);
        let disturbing = run.plan.carry_out(progress.watch_answered(), &shop, &http);
        let (answers, disturbed) = tokio::join!(placing, disturbing);
        let answers = answers?;
        disturbed?;
        let sagas = settle(&baskets, &shop.client().await?.sagas(), progress).await?;
        anyhow::Ok((answers, sagas))
    };
    let (answers, sagas) = failed.unless(work).await?;
    let kills = shop.kills();
    shop.stop().await?;
    let books = Books::read::<DB>(&databases).await?;
    databases.remove(args.keep).await?;

    let known = Known {
        mode: args.mode,
        baskets: &baskets,
        answers: &answers,
        sagas: &sagas,
        stock: &initial.stock,
        points: &initial.points,
        payments: &initial.payments,
    };
    let (report, disagreements) = reconcile(&books, &known);
    let report = Report {
        kills,
        seconds: run.seconds(),
        ..report
    };
    run.show(&disagreements);
    let reconciled = disagreements.is_empty() && report.is_good();
    tell(args.json, &report, reconciled)?;
    Ok(reconciled)
}

fn contents(initial: &Initial) -> [Contents; 4] {
    let accounts = |service, amounts: &BTreeMap<String, i64>| Contents {
        service,
        tables: &participant::TABLES,
        rows: Some((participant::OPEN_ACCOUNT, amounts.clone())),
    };
    [
        Contents {
            service: ServiceName::Order,
            tables: &participant::ORDER_TABLES,
            rows: None,
        },
        accounts(ServiceName::Stock, &initial.stock),
        accounts(ServiceName::Points, &initial.points),
        accounts(ServiceName::Payments, &initial.payments),
    ]
}

fn wish(basket: &Basket) -> anyhow::Result<Wish> {
    Ok(Wish {
        order_id: basket.order_id.clone(),
        body: serde_json::to_vec(basket)?.into(),
    })
}

/// Waits until every saga has ended, and returns how each is at the end.
async fn settle(
    baskets: &[Basket],
    sagas: &saga::Client,
    progress: &Progress,
) -> anyhow::Result<BTreeMap<String, saga::Status>> {
    progress.begin("settling", baskets.len());
    let sagas = sagas.clone().repeat_for(SETTLE_MAX);
    let until = tokio::time::Instant::now() + SETTLE_MAX;
    let ends = futures::stream::iter(baskets).map(|basket| {
        let sagas = sagas.clone();
        async move {
            let left = until.saturating_duration_since(tokio::time::Instant::now());
            let saga = sagas.wait(&basket.order_id, left).await?;
            anyhow::Ok((basket.order_id.clone(), saga.status))
        }
    });
    ends.buffer_unordered(SETTLE_CONCURRENCY)
        .try_collect()
        .await
}

fn tell(json: bool, report: &Report, reconciled: bool) -> anyhow::Result<()> {
    if json {
        println!("{}", serde_json::to_string(report)?);
        return Ok(());
    }
    println!(
        "{} orders placed: {} committed, {} refused",
        report.orders_placed, report.orders_committed, report.orders_refused
    );
    println!(
        "{} sagas completed, {} undone, {} parked, {} unfinished; {} effects undone",
        report.sagas_completed,
        report.sagas_undone,
        report.sagas_parked,
        report.sagas_unfinished,
        report.effects_undone
    );
    println!(
        "{} lost, {} duplicated, {} phantom, {} torn; {} kills; {} s",
        report.lost, report.duplicated, report.phantom, report.torn, report.kills, report.seconds
    );
    Run::conclude(reconciled);
    Ok(())
}
