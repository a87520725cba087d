//! The services. Each is a process of its own with a database of its own, and talks to the
//! others only through Outrigger.

mod crash;
pub(crate) mod effects;
pub(crate) mod order;

use std::sync::Arc;

use axum::{Router, routing::get};
use outrigger_sdk::{Client, Stop};
use serde::{Deserialize, Serialize};
use sqlx::{Postgres, Sqlite};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

use crate::{
    args::{Mode, ServiceArgs, ServiceName},
    database::{ShopDatabase, is_sqlite},
    sagas,
};
pub(crate) use crash::CrashPlan;

/// Where the order service announces what it has sold.
pub(crate) const TOPIC: &str = "orders";
/// The order service's producer group, for which check-back is configured.
pub(crate) const PRODUCER_GROUP: &str = "order-service";
pub(crate) const STOCK_GROUP: &str = "stock-service";
pub(crate) const POINTS_GROUP: &str = "points-service";

/// What the order service announces.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Sold {
    pub(crate) order_id: String,
    pub(crate) customer: String,
    pub(crate) sku: String,
    pub(crate) quantity: i64,
    pub(crate) cents: i64,
}

/// Runs one service until SIGTERM.
pub(crate) async fn serve(args: ServiceArgs) -> anyhow::Result<()> {
    if is_sqlite(&args.database) {
        serve_on::<Sqlite>(args).await
    } else {
        serve_on::<Postgres>(args).await
    }
}

async fn serve_on<DB: ShopDatabase>(args: ServiceArgs) -> anyhow::Result<()> {
    // Bound first, so that callers wait instead of being refused.
    let listener = TcpListener::bind(args.listen).await?;
    let pool = DB::connect(&args.database).await?;
    let client = Client::connect(args.sidecar.clone()).await?;
    let crash = Arc::new(CrashPlan::new(args.crash_at));
    let stop = stop_on_sigterm()?;

    let (api, working) = match (args.mode, args.name) {
        (Mode::Saga | Mode::Tcc, _) | (Mode::Messages, ServiceName::Payments) => {
            (sagas::api(&args, &client, pool, crash).await?, None)
        }
        (Mode::Messages, ServiceName::Order) => (order::api(&client, pool, crash), None),
        (Mode::Messages, ServiceName::Stock) => {
            let consumer = effects::consume(&client, effects::STOCK, pool.clone(), crash, &stop);
            (effects::stock_api(pool), Some(tokio::spawn(consumer)))
        }
        (Mode::Messages, ServiceName::Points) => {
            let consumer = effects::consume(&client, effects::POINTS, pool.clone(), crash, &stop);
            (effects::points_api(pool), Some(tokio::spawn(consumer)))
        }
    };
    let stopped = stop.clone();
    axum::serve(listener, with_health(api))
        .with_graceful_shutdown(async move { stopped.stopped().await })
        .await?;
    if let Some(working) = working {
        working.await??;
    }
    client.flush().await;
    Ok(())
}

fn with_health(api: Router) -> Router {
    api.route("/health", get(|| async { "ready" }))
}

fn stop_on_sigterm() -> anyhow::Result<Stop> {
    let stop = Stop::new();
    let stopping = stop.clone();
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::spawn(async move {
        terminate.recv().await;
        stopping.stop();
    });
    Ok(stop)
}
