//! Handlers of calls run in tasks of their own, so they must be `Send`.
#![cfg(feature = "sqlite")]

use outrigger_sdk::barrier::{Barrier, Call, Error, Failure, Outcome};
use sqlx::Sqlite;

struct Request {
    sku: String,
    count: i64,
}

async fn handle(
    barrier: &Barrier<Sqlite>,
    call: &Call,
    request: &Request,
) -> Result<Outcome, Error> {
    barrier
        .run(call, async |tx| {
            sqlx::query("UPDATE stock SET left = left - ? WHERE sku = ?")
                .bind(request.count)
                .bind(&request.sku)
                .execute(&mut **tx)
                .await?;
            if request.count < 0 {
                return Err(Failure::refused("no"));
            }
            Ok("")
        })
        .await
}

fn spawned(barrier: Barrier<Sqlite>, call: Call, request: Request) {
    tokio::spawn(async move { handle(&barrier, &call, &request).await });
}

#[test]
fn compiles() {
    let _ = spawned;
}
