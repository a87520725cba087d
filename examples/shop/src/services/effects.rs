//! What other services do about a sale: the stock service takes the pieces out of the
//! warehouse, the points service credits the customer. Both do it once for each message,
//! however often it arrives, by the inbox in their own transaction.

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    routing::get,
};
use outrigger_sdk::{
    Client, Stop,
    consumer::{self, Received, Retry},
    inbox::Effect,
};
use sqlx::Pool;

use super::{CrashPlan, POINTS_GROUP, STOCK_GROUP, Sold, TOPIC};
use crate::database::{ShopDatabase, Value};

/// The records have no unique order id on purpose: if an effect happened twice, it should
/// show.
pub(crate) const STOCK_TABLES: [&str; 2] = [
    "CREATE TABLE IF NOT EXISTS stock (sku TEXT PRIMARY KEY, on_hand BIGINT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS deduction (order_id TEXT NOT NULL, sku TEXT NOT NULL, quantity BIGINT NOT NULL)",
];
pub(crate) const PUT_IN_STOCK: &str = "INSERT INTO stock (sku, on_hand) VALUES ($1, $2)";
pub(crate) const POINTS_TABLES: [&str; 2] = [
    "CREATE TABLE IF NOT EXISTS account (customer TEXT PRIMARY KEY, points BIGINT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS credit (order_id TEXT NOT NULL, customer TEXT NOT NULL, points BIGINT NOT NULL)",
];

const DEDUCT: &str = "UPDATE stock SET on_hand = on_hand - $2 WHERE sku = $1";
const RECORD_DEDUCTION: &str =
    "INSERT INTO deduction (order_id, sku, quantity) VALUES ($1, $2, $3)";
const CREDIT: &str = "INSERT INTO account (customer, points) VALUES ($1, $2) ON CONFLICT (customer) DO UPDATE SET points = account.points + excluded.points";
const RECORD_CREDIT: &str = "INSERT INTO credit (order_id, customer, points) VALUES ($1, $2, $3)";
const STOCK_OF: &str = "SELECT on_hand FROM stock WHERE sku = $1";
const POINTS_OF: &str = "SELECT points FROM account WHERE customer = $1";

const CONCURRENCY: usize = 32;
/// Short, so that a killed consumer's messages come back soon. Leases of running handlers
/// are extended anyway.
const INVISIBLE_MS: u64 = 2_000;
/// The database is busy or away for a moment.
const RETRY_AFTER_MS: u64 = 200;

/// What a service does about a sale.
#[derive(Debug, Clone, Copy)]
pub(super) struct Work {
    consumer_group: &'static str,
    change: &'static str,
    record: &'static str,
    /// Whose account changes, and by how much.
    of: fn(&Sold) -> (&str, i64),
}

pub(super) const STOCK: Work = Work {
    consumer_group: STOCK_GROUP,
    change: DEDUCT,
    record: RECORD_DEDUCTION,
    of: |sold| (&sold.sku, sold.quantity),
};

pub(super) const POINTS: Work = Work {
    consumer_group: POINTS_GROUP,
    change: CREDIT,
    record: RECORD_CREDIT,
    of: |sold| (&sold.customer, points(sold.cents)),
};

/// One point for each full euro.
pub(crate) fn points(cents: i64) -> i64 {
    cents / 100
}

/// Consumes sales until it is stopped.
pub(super) fn consume<DB: ShopDatabase>(
    client: &Client,
    work: Work,
    pool: Pool<DB>,
    crash: Arc<CrashPlan>,
    stop: &Stop,
) -> impl Future<Output = Result<(), consumer::Error>> + Send + use<DB> {
    client
        .consumer(work.consumer_group)
        .subscribe(TOPIC, "sold")
        .concurrency(CONCURRENCY)
        .invisible(Duration::from_millis(INVISIBLE_MS))
        .stop(stop.clone())
        .run(move |message| handle(message, work, pool.clone(), Arc::clone(&crash)))
}

async fn handle<DB: ShopDatabase>(
    message: Received,
    work: Work,
    pool: Pool<DB>,
    crash: Arc<CrashPlan>,
) -> Result<(), Retry> {
    let sold: Sold = serde_json::from_slice(message.body())?;
    let (account, amount) = (work.of)(&sold);
    let effect = message
        .once(&pool, async |tx| {
            let change = [Value::Text(account), Value::Number(amount)];
            DB::execute(tx, work.change, &change).await?;
            let record = [
                Value::Text(&sold.order_id),
                Value::Text(account),
                Value::Number(amount),
            ];
            DB::execute(tx, work.record, &record).await?;
            Ok(())
        })
        .await
        .map_err(|error| Retry::from(error).delayed_by(Duration::from_millis(RETRY_AFTER_MS)))?;
    // The effect is committed and the message is not acknowledged: the worst moment to die.
    if effect == Effect::Done(()) {
        crash.moment();
    }
    Ok(())
}

pub(super) fn stock_api<DB: ShopDatabase>(pool: Pool<DB>) -> Router {
    Router::new()
        .route("/stock/{sku}", get(amount::<DB>))
        .with_state((pool, STOCK_OF))
}

pub(super) fn points_api<DB: ShopDatabase>(pool: Pool<DB>) -> Router {
    Router::new()
        .route("/points/{customer}", get(amount::<DB>))
        .with_state((pool, POINTS_OF))
}

async fn amount<DB: ShopDatabase>(
    State((pool, sql)): State<(Pool<DB>, &'static str)>,
    Path(account): Path<String>,
) -> Result<Json<i64>, (StatusCode, String)> {
    match DB::number(&pool, sql, &[Value::Text(&account)]).await {
        Ok(Some(amount)) => Ok(Json(amount)),
        Ok(None) => Err((StatusCode::NOT_FOUND, "unknown".to_owned())),
        Err(error) => Err((StatusCode::SERVICE_UNAVAILABLE, error.to_string())),
    }
}
