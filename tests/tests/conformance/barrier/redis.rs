use std::time::Duration;

use outrigger_sdk::barrier::{
    Adjustment, Call, Error, LONGEST_SAGA_DEFAULT, Outcome, Phase, RETENTION_MARGIN, RedisBarrier,
    RedisEffect,
};
use outrigger_tests::servers::{fresh_prefix, redis_url};
use redis::{AsyncCommands as _, aio::MultiplexedConnection};

use super::{Effect, OPENING_BALANCE, Participant, conformance};

struct InRedis {
    connection: MultiplexedConnection,
    barrier: RedisBarrier<MultiplexedConnection>,
    prefix: String,
}

impl InRedis {
    fn account(&self) -> String {
        format!("{}account", self.prefix)
    }
}

impl Participant for InRedis {
    async fn start() -> anyhow::Result<Self> {
        let connection = redis::Client::open(redis_url()?)?
            .get_multiplexed_async_connection()
            .await?;
        let prefix = fresh_prefix();
        let barrier = RedisBarrier::new(connection.clone()).key_prefix(prefix.clone());
        let mut participant = Self {
            connection,
            barrier,
            prefix,
        };
        let account = participant.account();
        let () = participant.connection.set(account, OPENING_BALANCE).await?;
        Ok(participant)
    }

    async fn call(&self, call: &Call, effect: Effect) -> Result<Outcome, Error> {
        let effect = match effect {
            Effect::Add(by) => RedisEffect::script(
                "local after = tonumber(redis.call('GET', KEYS[1])) + tonumber(ARGV[1])
                 if after < 0 then return redis.error_reply('REFUSED overdrawn') end
                 return redis.call('INCRBY', KEYS[1], ARGV[1])",
            )
            .key(self.account())
            .arg(by),
            Effect::AddAndFail(_) => RedisEffect::script("error('broken')"),
            Effect::Output(bytes) => {
                RedisEffect::script("return string.rep('x', tonumber(ARGV[1]))").arg(bytes)
            }
        };
        self.barrier.run(call, &effect).await
    }

    async fn balance(&self) -> anyhow::Result<i64> {
        Ok(self.connection.clone().get(self.account()).await?)
    }
}

conformance!(InRedis);

#[expect(clippy::expect_used, reason = "a part of tests")]
fn action(saga_id: &str) -> Call {
    Call::new(saga_id, "debit", Phase::Action).expect("a valid call")
}

#[tokio::test]
async fn adjustments_happen_all_or_not_at_all() -> anyhow::Result<()> {
    let redis = InRedis::start().await?;
    let (account, book) = (redis.account(), format!("{}book", redis.prefix));
    let transfer = |amount: i64| {
        RedisEffect::adjust([
            Adjustment::field(book.clone(), "in", amount),
            Adjustment::counter(account.clone(), -amount).at_least(0),
            Adjustment::field(book.clone(), "in", 1),
        ])
    };
    let outcome = redis.barrier.run(&action("one"), &transfer(60)).await?;
    assert_eq!(outcome, Outcome::Done("60,40,61".into()));
    let outcome = redis.barrier.run(&action("one"), &transfer(60)).await?;
    assert_eq!(outcome, Outcome::Repeated("60,40,61".into()));

    let refused = redis.barrier.run(&action("two"), &transfer(60)).await?;
    assert!(
        matches!(&refused, Outcome::Refused { reason, .. }
            if String::from_utf8_lossy(reason).contains("would be -20, at least 0 is needed")),
        "{refused:?}"
    );
    // The same number twice counts together.
    let twice = RedisEffect::adjust([
        Adjustment::counter(account.clone(), -30).at_least(0),
        Adjustment::counter(account.clone(), -30).at_least(0),
    ]);
    let refused = redis.barrier.run(&action("three"), &twice).await?;
    assert!(matches!(refused, Outcome::Refused { .. }), "{refused:?}");
    for (saga_id, by) in [("four", i64::MAX), ("five", 1 << 53)] {
        let error = redis.barrier.run(&action(saga_id), &transfer(-by)).await;
        assert!(matches!(error, Err(Error::Failed(_))), "{error:?}");
    }
    let text = RedisEffect::adjust([
        Adjustment::counter(account, 1),
        Adjustment::field(book.clone(), "text", 1),
    ]);
    let mut connection = redis.connection.clone();
    let () = connection.hset(&book, "text", "1.5").await?;
    let error = redis.barrier.run(&action("six"), &text).await;
    assert!(matches!(error, Err(Error::Failed(_))), "{error:?}");
    assert_eq!(redis.balance().await?, 40);
    let booked: i64 = connection.hget(&book, "in").await?;
    assert_eq!(booked, 61);
    Ok(())
}

#[tokio::test]
async fn rows_expire_and_not_before_the_longest_saga_ends() -> anyhow::Result<()> {
    let redis = InRedis::start().await?;
    let year = Duration::from_secs(365 * 24 * 60 * 60);
    for (saga_id, longest) in [
        ("one", LONGEST_SAGA_DEFAULT),
        ("two", year),
        ("three", Duration::MAX),
    ] {
        let barrier = redis.barrier.clone().longest_saga(longest);
        let ten_years = year * 10;
        let effect = RedisEffect::script("return 1.0");
        barrier.run(&action(saga_id), &effect).await?;
        let undo = action(&format!("{saga_id}-never")).with_phase(Phase::Undo);
        barrier.run(&undo, &effect).await?;
        for key in [saga_id.to_owned(), undo.saga_id().to_owned()] {
            let left_ms: u64 = redis
                .connection
                .clone()
                .pttl(format!("{}barrier:{}:{key}:debit", redis.prefix, key.len()))
                .await?;
            let left = Duration::from_millis(left_ms);
            let kept = longest.saturating_add(RETENTION_MARGIN).min(ten_years);
            assert!(
                left <= kept && left > kept - Duration::from_secs(60),
                "{key}: {left:?}"
            );
        }
    }
    Ok(())
}
