use outrigger_sdk::{
    barrier::{Call, Outcome, Phase},
    migrations,
};
use outrigger_tests::servers::fresh_mysql_database;
use sqlx::{MySql, MySqlPool, mysql::MySqlPoolOptions};

use super::{
    Participant as _,
    sql::{deadlock_test, sql_participant, sql_tests},
};

/// More than one caller waits for a row that another one has.
const CONNECTIONS_MAX: u32 = 8;

async fn open_at(isolation: &'static str) -> anyhow::Result<MySqlPool> {
    let pool = MySqlPoolOptions::new()
        .max_connections(CONNECTIONS_MAX)
        .after_connect(move |connection, _| {
            Box::pin(async move {
                let set = format!(
                    "SET SESSION innodb_lock_wait_timeout = 1; \
                     SET SESSION TRANSACTION ISOLATION LEVEL {isolation}"
                );
                sqlx::raw_sql(sqlx::AssertSqlSafe(set))
                    .execute(connection)
                    .await?;
                Ok(())
            })
        })
        .connect(&fresh_mysql_database().await?)
        .await?;
    migrations::mysql().run(&pool).await?;
    Ok(pool)
}

mod repeatable_read {
    use super::*;

    sql_participant!(
        RepeatableRead, MySql,
        make_older: "created_at - INTERVAL {} * 1000 MICROSECOND"
    );
    sql_tests!(RepeatableRead);
    deadlock_test!(RepeatableRead);

    impl RepeatableRead {
        async fn open() -> anyhow::Result<Self> {
            Self::new(open_at("REPEATABLE READ").await?, None).await
        }
    }

    /// Longer than the lock timeout, which ends the statement of the other and nothing else.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_lock_that_is_not_had_in_time_is_tried_again() -> anyhow::Result<()> {
        let participant = RepeatableRead::start().await?;
        let action = Call::new("one", "debit", Phase::Action)?;
        let started = tokio::sync::Notify::new();
        let slow = participant.barrier.run(&action, async |tx| {
            let left = RepeatableRead::add(tx, 1, -10).await?;
            started.notify_one();
            sqlx::raw_sql("DO SLEEP(1.5)").execute(&mut **tx).await?;
            Ok(left.to_string())
        });
        let second = async {
            started.notified().await;
            let unused = async |_: &mut _| Ok("unused");
            participant.barrier.run(&action, unused).await
        };
        let (slow, second) = tokio::join!(slow, second);
        assert_eq!(slow?, Outcome::Done("90".into()));
        assert_eq!(second?, Outcome::Repeated("90".into()));
        Ok(())
    }
}

mod read_committed {
    use super::*;

    sql_participant!(
        ReadCommitted, MySql,
        make_older: "created_at - INTERVAL {} * 1000 MICROSECOND"
    );
    deadlock_test!(ReadCommitted);

    impl ReadCommitted {
        async fn open() -> anyhow::Result<Self> {
            Self::new(open_at("READ COMMITTED").await?, None).await
        }
    }
}
