//! What the participants in a database have in common. A macro, because a function over any
//! database would need a page of bounds.

/// A participant in a database: `$name` with a pool and a barrier, and `$tests` that every
/// database has besides the suite.
macro_rules! sql_participant {
    ($name:ident, $database:ty, make_older: $make_older:literal) => {
        struct $name {
            pool: sqlx::Pool<$database>,
            barrier: outrigger_sdk::barrier::Barrier<$database>,
            /// Of a database that is a file.
            _directory: Option<tempfile::TempDir>,
        }

        impl $name {
            /// Makes the tables and opens the account.
            async fn new(
                pool: sqlx::Pool<$database>,
                directory: Option<tempfile::TempDir>,
            ) -> anyhow::Result<Self> {
                for statement in [
                    "CREATE TABLE account (id INTEGER PRIMARY KEY, balance BIGINT NOT NULL)",
                    "INSERT INTO account VALUES (1, 100), (2, 100)",
                ] {
                    sqlx::raw_sql(statement).execute(&pool).await?;
                }
                let barrier = outrigger_sdk::barrier::Barrier::new(pool.clone());
                Ok(Self {
                    pool,
                    barrier,
                    _directory: directory,
                })
            }

            async fn balance_of(&self, account: i64) -> anyhow::Result<i64> {
                let select = format!("SELECT balance FROM account WHERE id = {account}");
                let select = sqlx::AssertSqlSafe(select);
                Ok(sqlx::query_scalar(select).fetch_one(&self.pool).await?)
            }

            /// Adds to an account, and returns what it has then.
            async fn add(
                connection: &mut <$database as sqlx::Database>::Connection,
                account: i64,
                by: i64,
            ) -> Result<i64, sqlx::Error> {
                let update =
                    format!("UPDATE account SET balance = balance + {by} WHERE id = {account}");
                sqlx::query(sqlx::AssertSqlSafe(update))
                    .execute(&mut *connection)
                    .await?;
                let select = format!("SELECT balance FROM account WHERE id = {account}");
                sqlx::query_scalar(sqlx::AssertSqlSafe(select))
                    .fetch_one(&mut *connection)
                    .await
            }

            #[allow(dead_code, reason = "not for every isolation level")]
            async fn rows(&self) -> anyhow::Result<i64> {
                let rows = sqlx::query_scalar("SELECT count(*) FROM outrigger_barrier");
                Ok(rows.fetch_one(&self.pool).await?)
            }

            #[allow(dead_code, reason = "not for every isolation level")]
            async fn make_older(&self, saga_id: &str, by_ms: u128) -> anyhow::Result<()> {
                let update = format!(
                    "UPDATE outrigger_barrier SET created_at = {} WHERE saga_id = '{saga_id}'",
                    $make_older.replace("{}", &by_ms.to_string())
                );
                let update = sqlx::query(sqlx::AssertSqlSafe(update));
                update.execute(&self.pool).await?;
                Ok(())
            }
        }

        impl crate::barrier::Participant for $name {
            async fn start() -> anyhow::Result<Self> {
                Self::open().await
            }

            async fn call(
                &self,
                call: &outrigger_sdk::barrier::Call,
                effect: crate::barrier::Effect,
            ) -> Result<outrigger_sdk::barrier::Outcome, outrigger_sdk::barrier::Error> {
                use crate::barrier::Effect;
                self.barrier
                    .run(call, async |tx| match effect {
                        Effect::Add(by) => {
                            let balance = Self::add(tx, 1, by).await?;
                            if balance < 0 {
                                return Err(outrigger_sdk::barrier::Failure::refused("overdrawn"));
                            }
                            Ok(balance.to_string())
                        }
                        Effect::AddAndFail(by) => {
                            Self::add(tx, 1, by).await?;
                            Err("broken".into())
                        }
                        Effect::Output(bytes) => Ok("x".repeat(bytes)),
                    })
                    .await
            }

            async fn balance(&self) -> anyhow::Result<i64> {
                self.balance_of(1).await
            }
        }

        crate::barrier::conformance!($name);
    };
}
pub(super) use sql_participant;

/// Tests that every database has besides the suite.
macro_rules! sql_tests {
    ($name:ident) => {
        #[tokio::test]
        async fn old_rows_are_collected_and_all_others_stay() -> anyhow::Result<()> {
            use crate::barrier::{Effect, Participant as _};
            use outrigger_sdk::barrier::{Call, CollectError, Outcome, Phase, RETENTION_MARGIN};
            use std::time::Duration;

            let mut participant = $name::start().await?;
            let longest = Duration::from_secs(3_600);
            participant.barrier = participant.barrier.clone().longest_saga(longest);
            let least = longest + RETENTION_MARGIN;
            let minute = Duration::from_secs(60);
            for (saga_id, age) in [
                ("old", least + minute),
                ("young", least - minute),
            ] {
                let action = Call::new(saga_id, "debit", Phase::Action)?;
                participant.call(&action, Effect::Add(-10)).await?;
                let undo = Call::new(saga_id, "never", Phase::Undo)?;
                participant.call(&undo, Effect::Add(10)).await?;
                participant.make_older(saga_id, age.as_millis()).await?;
            }
            let short = least - Duration::from_millis(1);
            let refused = participant.barrier.collect(short).await.err();
            assert!(
                matches!(refused, Some(CollectError::RetentionTooShort { .. })),
                "{refused:?}"
            );
            assert_eq!(participant.barrier.collect(Duration::MAX).await?, 0);
            assert_eq!(participant.rows().await?, 6);
            assert_eq!(participant.barrier.collect(least).await?, 3);
            assert_eq!(participant.barrier.collect(least).await?, 0);
            assert_eq!(participant.rows().await?, 3);

            let late = Call::new("young", "never", Phase::Action)?;
            let outcome = participant.call(&late, Effect::Add(-10)).await?;
            assert_eq!(outcome, Outcome::TooLate);
            let again = Call::new("young", "debit", Phase::Action)?;
            let outcome = participant.call(&again, Effect::Add(-10)).await?;
            assert!(matches!(outcome, Outcome::Repeated(_)), "{outcome:?}");
            Ok(())
        }

        #[tokio::test]
        async fn many_old_rows_are_collected_in_batches() -> anyhow::Result<()> {
            use crate::barrier::Participant as _;
            use outrigger_sdk::barrier::{LONGEST_SAGA_DEFAULT, RETENTION_MARGIN};

            let participant = $name::start().await?;
            let digits = "SELECT 0 AS d UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 \
                          UNION ALL SELECT 4 UNION ALL SELECT 5 UNION ALL SELECT 6 \
                          UNION ALL SELECT 7 UNION ALL SELECT 8 UNION ALL SELECT 9";
            let insert = format!(
                "INSERT INTO outrigger_barrier (saga_id, step, phase, outcome, attempt) \
                 SELECT 'old', concat(a.d, '-', b.d, '-', c.d, '-', e.d), 'action', 'done', 0 \
                 FROM ({digits}) a, ({digits}) b, ({digits}) c, ({digits}) e WHERE e.d < 2"
            );
            sqlx::query(sqlx::AssertSqlSafe(insert))
                .execute(&participant.pool)
                .await?;
            let retention = LONGEST_SAGA_DEFAULT + RETENTION_MARGIN;
            let age = retention.as_millis() + 1_000;
            participant.make_older("old", age).await?;
            assert_eq!(participant.barrier.collect(retention).await?, 2_000);
            assert_eq!(participant.rows().await?, 0);
            Ok(())
        }

        /// The application has a transaction of its own.
        #[tokio::test]
        async fn a_transaction_of_the_callers_own_enters_and_finishes() -> anyhow::Result<()> {
            use crate::barrier::Participant as _;
            use outrigger_sdk::barrier::{Call, Entry, Outcome, Phase};

            let participant = $name::start().await?;
            let action = Call::new("one", "debit", Phase::Action)?;
            let mut tx = participant.pool.begin().await?;
            assert_eq!(participant.barrier.enter(&mut tx, &action).await?, Entry::Run);
            let left = $name::add(&mut tx, 1, -10).await?;
            participant.barrier.finish(&mut tx, &action, left.to_string()).await?;
            tx.commit().await?;
            let mut tx = participant.pool.begin().await?;
            let repeated = Entry::Answered(Outcome::Repeated("90".into()));
            assert_eq!(participant.barrier.enter(&mut tx, &action).await?, repeated);
            tx.commit().await?;

            let undo = Call::new("two", "debit", Phase::Undo)?;
            let mut tx = participant.pool.begin().await?;
            let nothing = Entry::Answered(Outcome::NullUndo);
            assert_eq!(participant.barrier.enter(&mut tx, &undo).await?, nothing);
            tx.commit().await?;
            let late = Call::new("two", "debit", Phase::Action)?;
            let refused = participant.barrier.refuse(&late, "poor").await?;
            assert_eq!(refused, Outcome::TooLate);

            let other = Call::new("three", "debit", Phase::Action)?;
            let refused = participant.barrier.refuse(&other, "poor").await?;
            assert_eq!(refused.http_status(), 409);
            let mut tx = participant.pool.begin().await?;
            let (reason, repeated) = ("poor".into(), true);
            assert_eq!(
                participant.barrier.enter(&mut tx, &other).await?,
                Entry::Answered(Outcome::Refused { reason, repeated })
            );
            tx.commit().await?;
            Ok(())
        }

        /// The effect hides that its transaction has failed or ended.
        #[tokio::test]
        async fn an_effect_without_its_transaction_is_no_success() -> anyhow::Result<()> {
            use crate::barrier::Participant as _;
            use outrigger_sdk::barrier::{Call, Phase};

            let participant = $name::start().await?;
            for output in ["", "output"] {
                let action = Call::new(format!("ended-{output}"), "debit", Phase::Action)?;
                let ended = participant
                    .barrier
                    .run(&action, async |tx| {
                        $name::add(tx, 1, -10).await?;
                        sqlx::raw_sql("ROLLBACK").execute(&mut **tx).await?;
                        Ok(output)
                    })
                    .await;
                assert!(ended.is_err(), "{ended:?}");
            }
            assert_eq!(participant.balance().await?, 100);
            assert_eq!(participant.rows().await?, 0);
            Ok(())
        }
    };
}
pub(super) use sql_tests;

/// Two effects that lock two rows in opposite orders, where rows have locks.
macro_rules! deadlock_test {
    ($name:ident) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn a_deadlock_is_tried_again() -> anyhow::Result<()> {
            use crate::barrier::Participant as _;
            use outrigger_sdk::barrier::{Call, Outcome, Phase};
            use std::sync::atomic::{AtomicU32, Ordering};

            let participant = $name::start().await?;
            let runs = AtomicU32::new(0);
            // Both have one row when they ask for the other.
            let both = tokio::sync::Barrier::new(2);
            let transfer = async |from: i64, to: i64| {
                let action = Call::new(format!("from-{from}"), "transfer", Phase::Action)?;
                let outcome = participant
                    .barrier
                    .run(&action, async |tx| {
                        let run = runs.fetch_add(1, Ordering::SeqCst);
                        $name::add(tx, from, -10).await?;
                        if run < 2 {
                            both.wait().await;
                        }
                        $name::add(tx, to, 10).await?;
                        Ok("")
                    })
                    .await?;
                anyhow::Ok(outcome)
            };
            let (one, two) = tokio::join!(transfer(1, 2), transfer(2, 1));
            assert_eq!(
                (one?, two?),
                (Outcome::Done("".into()), Outcome::Done("".into()))
            );
            assert!(runs.load(Ordering::SeqCst) > 2, "there was no deadlock");
            assert_eq!(participant.balance_of(1).await?, 100);
            assert_eq!(participant.balance_of(2).await?, 100);
            Ok(())
        }
    };
}
pub(super) use deadlock_test;
