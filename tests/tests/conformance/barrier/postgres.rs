use outrigger_sdk::{
    barrier::{Call, Phase},
    migrations,
};
use outrigger_tests::servers::fresh_database;
use sqlx::{PgPool, Postgres, postgres::PgPoolOptions};

use super::{
    Participant as _,
    sql::{deadlock_test, sql_participant, sql_tests},
};

/// More than one caller waits for a row that another one has.
const CONNECTIONS_MAX: u32 = 8;

async fn open_at(isolation: &'static str) -> anyhow::Result<PgPool> {
    let pool = PgPoolOptions::new()
        .max_connections(CONNECTIONS_MAX)
        .after_connect(move |connection, _| {
            Box::pin(async move {
                let set = format!("SET default_transaction_isolation = '{isolation}'");
                sqlx::raw_sql(sqlx::AssertSqlSafe(set))
                    .execute(connection)
                    .await?;
                Ok(())
            })
        })
        .connect(&fresh_database().await?)
        .await?;
    migrations::postgres().run(&pool).await?;
    Ok(pool)
}

mod read_committed {
    use super::*;

    sql_participant!(
        ReadCommitted, Postgres,
        make_older: "created_at - {} * interval '1 millisecond'"
    );
    sql_tests!(ReadCommitted);
    deadlock_test!(ReadCommitted);

    impl ReadCommitted {
        async fn open() -> anyhow::Result<Self> {
            Self::new(open_at("read committed").await?, None).await
        }
    }

    /// PostgreSQL answers OK to the COMMIT of a transaction that has failed.
    #[tokio::test]
    async fn a_swallowed_error_is_no_success() -> anyhow::Result<()> {
        let participant = ReadCommitted::start().await?;
        for output in ["", "output"] {
            let action = Call::new(format!("swallowed-{output}"), "debit", Phase::Action)?;
            let swallowed = participant
                .barrier
                .run(&action, async |tx| {
                    ReadCommitted::add(tx, 1, -10).await?;
                    let _ = sqlx::raw_sql("SELECT 1 / 0").execute(&mut **tx).await;
                    Ok(output)
                })
                .await;
            assert!(swallowed.is_err(), "{swallowed:?}");
        }
        assert_eq!(participant.balance().await?, 100);
        assert_eq!(participant.rows().await?, 0);
        Ok(())
    }
}

mod serializable {
    use super::*;

    sql_participant!(
        Serializable, Postgres,
        make_older: "created_at - {} * interval '1 millisecond'"
    );
    deadlock_test!(Serializable);

    impl Serializable {
        async fn open() -> anyhow::Result<Self> {
            Self::new(open_at("serializable").await?, None).await
        }
    }
}
