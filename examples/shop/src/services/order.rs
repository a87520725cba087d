//! Takes orders: writes the order and takes the pieces off the shelf in one local
//! transaction, and announces the sale if and only if that commits.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    routing::{get, post},
};
use outrigger_sdk::{
    Client, Message, Producer,
    transaction::{Error, Step},
};
use serde::{Deserialize, Serialize};
use sqlx::Pool;

use super::{CrashPlan, PRODUCER_GROUP, Sold, TOPIC};
use crate::database::{ShopDatabase, Value};

/// `left_for_sale` is the order service's own idea of the stock: what it may still sell.
pub(crate) const TABLES: [&str; 2] = [
    "CREATE TABLE IF NOT EXISTS shelf (sku TEXT PRIMARY KEY, left_for_sale BIGINT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS orders (id TEXT PRIMARY KEY, customer TEXT NOT NULL, sku TEXT NOT NULL, quantity BIGINT NOT NULL, cents BIGINT NOT NULL)",
];
pub(crate) const PUT_ON_SHELF: &str = "INSERT INTO shelf (sku, left_for_sale) VALUES ($1, $2)";
const FIND: &str = "SELECT quantity FROM orders WHERE id = $1";
const INSERT: &str =
    "INSERT INTO orders (id, customer, sku, quantity, cents) VALUES ($1, $2, $3, $4, $5)";
const TAKE: &str =
    "UPDATE shelf SET left_for_sale = left_for_sale - $2 WHERE sku = $1 AND left_for_sale >= $2";

/// The answer to an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    Committed,
    Refused,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Answer {
    pub(crate) status: Status,
}

/// Why an order is not taken.
#[derive(Debug, thiserror::Error)]
#[error("not enough is left of {sku}")]
struct SoldOut {
    sku: String,
}

/// The order is there already.
#[derive(Debug, thiserror::Error)]
#[error("the order has been placed before")]
struct PlacedBefore;

struct Service<DB: ShopDatabase> {
    pool: Pool<DB>,
    producer: Producer,
}

pub(super) fn api<DB: ShopDatabase>(
    client: &Client,
    pool: Pool<DB>,
    crash: Arc<CrashPlan>,
) -> Router {
    let producer = client.producer(PRODUCER_GROUP).on_step(move |step| {
        // Committed here, and the sidecar does not know yet: the worst moment to die.
        if let Step::LocallyCommitted { .. } = step {
            crash.moment();
        }
    });
    Router::new()
        .route("/orders", post(place::<DB>))
        .route("/orders/{id}", get(find::<DB>))
        .with_state(Arc::new(Service { pool, producer }))
}

async fn place<DB: ShopDatabase>(
    State(service): State<Arc<Service<DB>>>,
    Json(order): Json<Sold>,
) -> Result<(StatusCode, Json<Answer>), (StatusCode, String)> {
    let answer = |code, status| Ok((code, Json(Answer { status })));
    if service.has(&order.order_id).await.map_err(unavailable)? {
        return answer(StatusCode::OK, Status::Committed);
    }
    match service.place(&order).await {
        Ok(()) => answer(StatusCode::CREATED, Status::Committed),
        Err(error) if error.aborted_with::<PlacedBefore>().is_some() => {
            answer(StatusCode::OK, Status::Committed)
        }
        Err(error) if error.aborted_with::<SoldOut>().is_some() => {
            answer(StatusCode::CONFLICT, Status::Refused)
        }
        Err(error) => Err(unavailable(error)),
    }
}

async fn find<DB: ShopDatabase>(
    State(service): State<Arc<Service<DB>>>,
    Path(id): Path<String>,
) -> Result<Json<Answer>, (StatusCode, String)> {
    if service.has(&id).await.map_err(unavailable)? {
        Ok(Json(Answer {
            status: Status::Committed,
        }))
    } else {
        Err((StatusCode::NOT_FOUND, "no such order".to_owned()))
    }
}

impl<DB: ShopDatabase> Service<DB> {
    async fn has(&self, id: &str) -> Result<bool, sqlx::Error> {
        let found = DB::number(&self.pool, FIND, &[Value::Text(id)]).await?;
        Ok(found.is_some())
    }

    async fn place(&self, order: &Sold) -> Result<(), Error> {
        let body = serde_json::to_vec(order).map_err(|error| Error::Aborted(error.into()))?;
        let message = Message::new(TOPIC, body).tag("sold").key(&order.order_id);
        self.producer
            .transaction()
            .message(message)
            .run(&self.pool, async |tx| {
                let inserted = DB::execute(
                    tx,
                    INSERT,
                    &[
                        Value::Text(&order.order_id),
                        Value::Text(&order.customer),
                        Value::Text(&order.sku),
                        Value::Number(order.quantity),
                        Value::Number(order.cents),
                    ],
                )
                .await;
                if inserted.as_ref().is_err_and(is_duplicate) {
                    return Err(PlacedBefore.into());
                }
                inserted?;
                let wanted = [Value::Text(&order.sku), Value::Number(order.quantity)];
                if DB::execute(tx, TAKE, &wanted).await? == 0 {
                    return Err(SoldOut {
                        sku: order.sku.clone(),
                    }
                    .into());
                }
                Ok(())
            })
            .await
    }
}

/// The customer tries again: placing the same order twice is harmless.
fn unavailable(error: impl std::fmt::Display) -> (StatusCode, String) {
    (StatusCode::SERVICE_UNAVAILABLE, error.to_string())
}

fn is_duplicate(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .is_some_and(|error| error.is_unique_violation())
}
