//! A service's part of an order. Whatever it changes, and that it has been called, is in one
//! transaction: the barrier's.

use std::sync::Arc;

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use outrigger_sdk::barrier::{Barrier, Call, Failure, Outcome, Phase};
use sqlx::Pool;

use super::{Basket, Card};
use crate::{
    args::ServiceName,
    database::{ShopDatabase, Value},
    services::CrashPlan,
};

/// What is there, and what is held back for orders that are not confirmed yet; and every change
/// with the order that it was for. The changes have no unique key on purpose: if one happened
/// twice, it should show.
pub(super) const TABLES: [&str; 2] = [
    "CREATE TABLE IF NOT EXISTS account (name TEXT PRIMARY KEY, available BIGINT NOT NULL, held BIGINT NOT NULL DEFAULT 0)",
    "CREATE TABLE IF NOT EXISTS movement (order_id TEXT NOT NULL, phase TEXT NOT NULL, name TEXT NOT NULL, amount BIGINT NOT NULL)",
];
pub(super) const OPEN_ACCOUNT: &str = "INSERT INTO account (name, available) VALUES ($1, $2)";
/// The order service keeps the orders themselves.
pub(super) const ORDER_TABLES: [&str; 2] = [
    "CREATE TABLE IF NOT EXISTS orders (id TEXT NOT NULL, status TEXT NOT NULL, customer TEXT NOT NULL, cents BIGINT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS movement (order_id TEXT NOT NULL, phase TEXT NOT NULL, name TEXT NOT NULL, amount BIGINT NOT NULL)",
];

const TAKE: &str =
    "UPDATE account SET available = available - $2 WHERE name = $1 AND available >= $2";
const GIVE_BACK: &str = "UPDATE account SET available = available + $2 WHERE name = $1";
const HOLD: &str = "UPDATE account SET available = available - $2, held = held + $2 WHERE name = $1 AND available >= $2";
const TAKE_HELD: &str = "UPDATE account SET held = held - $2 WHERE name = $1";
const FREE_HELD: &str =
    "UPDATE account SET available = available + $2, held = held - $2 WHERE name = $1";
const RECORD: &str = "INSERT INTO movement (order_id, phase, name, amount) VALUES ($1, $2, $3, $4)";
const INSERT_ORDER: &str =
    "INSERT INTO orders (id, status, customer, cents) VALUES ($1, $2, $3, $4)";
const SET_ORDER: &str = "UPDATE orders SET status = $2 WHERE id = $1";

struct Participant<DB: ShopDatabase> {
    service: ServiceName,
    barrier: Barrier<DB>,
    crash: Arc<CrashPlan>,
}

pub(super) fn api<DB: ShopDatabase>(
    service: ServiceName,
    pool: Pool<DB>,
    crash: Arc<CrashPlan>,
) -> Router {
    let participant = Participant {
        service,
        barrier: Barrier::new(pool),
        crash,
    };
    Router::new()
        .route("/participate", post(participate::<DB>))
        .with_state(Arc::new(participant))
}

async fn participate<DB: ShopDatabase>(
    State(participant): State<Arc<Participant<DB>>>,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, Bytes) {
    let header = |name: &str| headers.get(name)?.to_str().ok();
    let call = match Call::from_headers(header) {
        Ok(call) => call,
        Err(error) => return (StatusCode::BAD_REQUEST, error.to_string().into()),
    };
    let basket: Basket = match serde_json::from_slice(&body) {
        Ok(basket) => basket,
        Err(error) => return (StatusCode::BAD_REQUEST, error.to_string().into()),
    };
    let called = match participant.service {
        ServiceName::Order => participant.order(&call, &basket).await,
        ServiceName::Stock => {
            let take = (&*basket.sku, basket.quantity);
            participant.account(&call, &basket, take, "sold out").await
        }
        ServiceName::Points => {
            let take = (&*basket.customer, basket.points);
            let poor = "too few points";
            participant.account(&call, &basket, take, poor).await
        }
        ServiceName::Payments => {
            let take = (&*basket.customer, basket.cents);
            let poor = "the card's limit is reached";
            participant.account(&call, &basket, take, poor).await
        }
    };
    match called {
        Ok(outcome) => {
            // Committed here, and the saga does not know yet: the worst moment to die.
            if matches!(outcome, Outcome::Done(_)) {
                participant.crash.moment();
            }
            let status = StatusCode::from_u16(outcome.http_status());
            let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            (status, outcome.into_body())
        }
        // The saga calls again.
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, error.to_string().into()),
    }
}

impl<DB: ShopDatabase> Participant<DB> {
    /// Takes an amount from an account, or gives it back.
    async fn account(
        &self,
        call: &Call,
        basket: &Basket,
        (name, amount): (&str, i64),
        refusal: &'static str,
    ) -> Result<Outcome, outrigger_sdk::barrier::Error> {
        let change = match call.phase() {
            Phase::Action => TAKE,
            Phase::Undo => GIVE_BACK,
            Phase::Try => HOLD,
            Phase::Confirm => TAKE_HELD,
            Phase::Cancel => FREE_HELD,
        };
        let asks = matches!(call.phase(), Phase::Action | Phase::Try);
        let pays = self.service == ServiceName::Payments;
        let declined = asks && pays && basket.card == Card::Declined;
        self.barrier
            .run(call, async |tx| {
                if declined {
                    return Err(Failure::refused("the card is declined"));
                }
                let values = [Value::Text(name), Value::Number(amount)];
                let changed = DB::execute(tx, change, &values).await?;
                if changed == 0 && asks {
                    return Err(Failure::refused(refusal));
                }
                record::<DB>(tx, call, basket, name, amount).await?;
                Ok("")
            })
            .await
    }

    /// Writes the order down.
    async fn order(
        &self,
        call: &Call,
        basket: &Basket,
    ) -> Result<Outcome, outrigger_sdk::barrier::Error> {
        self.barrier
            .run(call, async |tx| {
                let order = &basket.order_id;
                let status = match call.phase() {
                    Phase::Action | Phase::Confirm => "confirmed",
                    Phase::Try => "pending",
                    Phase::Undo | Phase::Cancel => "cancelled",
                };
                match call.phase() {
                    Phase::Action | Phase::Try => {
                        let values = [
                            Value::Text(order),
                            Value::Text(status),
                            Value::Text(&basket.customer),
                            Value::Number(basket.cents),
                        ];
                        DB::execute(tx, INSERT_ORDER, &values).await?;
                    }
                    Phase::Undo | Phase::Confirm | Phase::Cancel => {
                        let values = [Value::Text(order), Value::Text(status)];
                        DB::execute(tx, SET_ORDER, &values).await?;
                    }
                }
                record::<DB>(tx, call, basket, order, basket.cents).await?;
                Ok("")
            })
            .await
    }
}

async fn record<DB: ShopDatabase>(
    connection: &mut DB::Connection,
    call: &Call,
    basket: &Basket,
    name: &str,
    amount: i64,
) -> Result<u64, sqlx::Error> {
    let values = [
        Value::Text(&basket.order_id),
        Value::Text(call.phase().name()),
        Value::Text(name),
        Value::Number(amount),
    ];
    DB::execute(connection, RECORD, &values).await
}

#[cfg(test)]
mod tests {
    use outrigger_sdk::testing::{self, Answer, Broken};
    use sqlx::Sqlite;
    use tempfile::TempDir;

    use super::*;

    /// A service as the checks of the SDK see it.
    struct Checked {
        participant: Participant<Sqlite>,
        pool: Pool<Sqlite>,
        _directory: TempDir,
    }

    impl Checked {
        async fn new(service: ServiceName) -> anyhow::Result<Self> {
            let directory = tempfile::tempdir()?;
            let url = format!("sqlite://{}/service.db", directory.path().display());
            let pool = Sqlite::connect(&url).await?;
            Sqlite::migrate(&pool).await?;
            let mut connection = pool.acquire().await?;
            for table in TABLES.iter().chain(&ORDER_TABLES) {
                Sqlite::execute(&mut connection, table, &[]).await?;
            }
            for name in ["sku", "customer"] {
                let values = [Value::Text(name), Value::Number(1_000)];
                Sqlite::execute(&mut connection, OPEN_ACCOUNT, &values).await?;
            }
            drop(connection);
            let participant = Participant {
                service,
                barrier: Barrier::new(pool.clone()),
                crash: Arc::new(CrashPlan::new(None)),
            };
            Ok(Self {
                participant,
                pool,
                _directory: directory,
            })
        }
    }

    impl testing::Participant for Checked {
        /// What is available, what is held, and how many orders count.
        type State = Vec<Option<i64>>;

        async fn call(&self, call: Call) -> Answer {
            let basket = Basket {
                order_id: call.saga_id().to_owned(),
                customer: "customer".to_owned(),
                sku: "sku".to_owned(),
                quantity: 3,
                cents: 30,
                points: 3,
                card: Card::Good,
            };
            let outcome = match self.participant.service {
                ServiceName::Order => self.participant.order(&call, &basket).await,
                _ => {
                    let participant = &self.participant;
                    participant.account(&call, &basket, ("sku", 3), "no").await
                }
            };
            outcome.into()
        }

        async fn state(&self) -> Vec<Option<i64>> {
            let mut state = Vec::new();
            for sql in [
                "SELECT CAST(SUM(available) AS BIGINT) FROM account",
                "SELECT CAST(SUM(held) AS BIGINT) FROM account",
                "SELECT COUNT(*) FROM orders WHERE status = 'confirmed'",
                "SELECT COUNT(*) FROM orders WHERE status = 'pending'",
            ] {
                state.push(Sqlite::number(&self.pool, sql, &[]).await.unwrap());
            }
            state
        }
    }

    #[tokio::test]
    async fn every_service_keeps_what_a_participant_promises() -> anyhow::Result<()> {
        for service in [ServiceName::Order, ServiceName::Stock] {
            let broken = |broken: Broken| anyhow::anyhow!("{service:?}: {broken}");
            let saga = Checked::new(service).await?;
            testing::check_saga(&saga, "step").await.map_err(broken)?;
            let tcc = Checked::new(service).await?;
            testing::check_tcc(&tcc, "step").await.map_err(broken)?;
        }
        Ok(())
    }
}
