//! The futures of the SDK can be spawned, which async closures make easy to lose.

use outrigger_sdk::{Client, Message, check_back, transaction::Error};
use sqlx::{PgPool, SqlitePool};

fn spawnable<T: Send>(future: impl Future<Output = T> + Send) -> impl Future<Output = T> + Send {
    future
}

async fn place_order(client: Client, pool: SqlitePool, order: String) -> Result<i64, Error> {
    let order = &order;
    client
        .producer("order-service")
        .transaction()
        .message(Message::from_fence("orders"))
        .run(&pool, async |tx| {
            sqlx::query("INSERT INTO orders VALUES (?1)")
                .bind(order)
                .execute(&mut **tx)
                .await?;
            tx.set_payload("17");
            Ok(17)
        })
        .await
}

#[tokio::test]
async fn every_long_running_call_can_be_spawned() -> anyhow::Result<()> {
    let client = Client::connect("http://127.0.0.1:9").await?;
    let sqlite = SqlitePool::connect_lazy("sqlite::memory:")?;
    let postgres = PgPool::connect_lazy("postgres://127.0.0.1:9/none")?;

    drop(spawnable(place_order(
        client.clone(),
        sqlite.clone(),
        "17".to_owned(),
    )));
    drop(spawnable(async {
        let producer = client.producer("order-service");
        producer
            .answer_check_backs(async |question| check_back::from_fence(&postgres, &question).await)
            .await
    }));
    let pool = sqlite.clone();
    drop(spawnable(
        client
            .consumer("stock-service")
            .subscribe("orders", "*")
            .run(move |message| {
                let pool = pool.clone();
                async move {
                    message
                        .once(&pool, async |tx| {
                            sqlx::query("UPDATE stock SET left = left - 1")
                                .execute(&mut **tx)
                                .await?;
                            Ok(())
                        })
                        .await?;
                    Ok(())
                }
            }),
    ));
    Ok(())
}
