//! What applications do with the fence and the inbox in MySQL and MariaDB, on both sides of
//! a check-back.

use outrigger_sdk::{
    Verdict, fence,
    inbox::{self, Effect},
    migrations,
};
use outrigger_tests::servers::fresh_mysql_database;
use sqlx::{MySql, MySqlPool};
use uuid::Uuid;

use super::PRODUCER_GROUP;

async fn open() -> anyhow::Result<MySqlPool> {
    let pool = MySqlPool::connect(&fresh_mysql_database().await?).await?;
    migrations::mysql().run(&pool).await?;
    // Once more, as every start of an application does.
    migrations::mysql().run(&pool).await?;
    Ok(pool)
}

#[tokio::test]
async fn an_absent_row_is_rolled_back_and_the_application_comes_too_late() -> anyhow::Result<()> {
    let (pool, id) = (open().await?, Uuid::now_v7());
    for _ in 0..2 {
        let decision = fence::decide(&pool, id, PRODUCER_GROUP).await?;
        assert_eq!(decision.verdict, Verdict::Rollback);
    }
    let mut tx = pool.begin().await?;
    let refused = fence::insert::<MySql>(&mut tx, id, PRODUCER_GROUP).await;
    assert!(
        matches!(refused, Err(fence::Error::DecidedByCheckBack { .. })),
        "{refused:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_running_transaction_is_unknown_until_it_ends() -> anyhow::Result<()> {
    let pool = open().await?;
    for (commits, verdict) in [(true, Verdict::Commit), (false, Verdict::Rollback)] {
        let id = Uuid::now_v7();
        let mut tx = pool.begin().await?;
        fence::insert::<MySql>(&mut tx, id, PRODUCER_GROUP).await?;
        fence::set_payload::<MySql>(&mut tx, id, b"late").await?;
        let unknown = fence::decide(&pool, id, PRODUCER_GROUP).await;
        assert!(
            matches!(unknown, Err(fence::Error::Database(_))),
            "{unknown:?}"
        );
        match commits {
            true => tx.commit().await?,
            false => tx.rollback().await?,
        }
        let decision = fence::decide(&pool, id, PRODUCER_GROUP).await?;
        assert_eq!(decision.verdict, verdict);
        assert_eq!(decision.payload, commits.then(|| "late".into()));
    }
    // The settings of a check are gone with its connection.
    let wait_s: u64 = sqlx::query_scalar("SELECT @@innodb_lock_wait_timeout")
        .fetch_one(&pool)
        .await?;
    assert_eq!(wait_s, 50);
    Ok(())
}

#[tokio::test]
async fn an_effect_happens_once_per_message() -> anyhow::Result<()> {
    let pool = open().await?;
    sqlx::raw_sql("CREATE TABLE stock (count BIGINT); INSERT INTO stock VALUES (10)")
        .execute(&pool)
        .await?;
    let long = "m".repeat(513);
    for (message_id, expected) in [
        ("one", Effect::Done(())),
        ("one", Effect::AlreadyDone),
        // Neither other case nor more spaces are the same message.
        ("ONE", Effect::Done(())),
        ("one ", Effect::Done(())),
    ] {
        let effect = inbox::once(&pool, "stock", message_id, async |tx| {
            sqlx::query("UPDATE stock SET count = count - 1")
                .execute(&mut **tx)
                .await?;
            Ok(())
        });
        assert_eq!(effect.await?, expected, "{message_id:?}");
    }
    let too_long = inbox::once(&pool, "stock", &long, async |_| Ok(())).await;
    assert!(
        matches!(too_long, Err(inbox::Error::Database(_))),
        "{too_long:?}"
    );
    let left: i64 = sqlx::query_scalar("SELECT count FROM stock")
        .fetch_one(&pool)
        .await?;
    assert_eq!(left, 7);
    Ok(())
}
