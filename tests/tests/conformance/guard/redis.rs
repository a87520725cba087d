use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use outrigger::guards::{Error, GuardStore, RedisGuards, RedisOptions};
use outrigger_core::guard::{Input, Mode, Outcome};
use outrigger_tests::servers::{Redis, fresh_prefix, redis_url};

use super::{Backend, conformance};

struct InRedis {
    store: Arc<RedisGuards>,
    prefix: String,
}

impl Backend for InRedis {
    async fn start() -> anyhow::Result<Self> {
        let prefix = fresh_prefix();
        let mut options = RedisOptions::new(&redis_url()?)?;
        options.key_prefix.clone_from(&prefix);
        options.timeout_ms = 10_000;
        Ok(Self {
            store: Arc::new(RedisGuards::new(options)?),
            prefix,
        })
    }

    fn store(&self) -> Arc<dyn GuardStore> {
        self.store.clone()
    }
}

conformance!(InRedis);

fn acquire() -> Input {
    Input::Acquire {
        mode: Mode::Record,
        token: "one".to_owned(),
        fingerprint: "".into(),
        lease_ms: 60_000,
    }
}

/// Otherwise the fencing number would start again under a holder that is late.
#[tokio::test]
async fn a_key_outlives_its_deadline_and_never_stays_for_ever() -> anyhow::Result<()> {
    let backend = InRedis::start().await?;
    for input in [
        acquire(),
        Input::Release {
            token: "one".to_owned(),
        },
        Input::Increment { ttl_ms: 5_000 },
    ] {
        backend.store.apply("scope", "key".into(), input).await?;
    }
    let mut connection = redis::Client::open(redis_url()?)?
        .get_multiplexed_async_connection()
        .await?;
    for (kind, at_least_ms, at_most_ms) in [("guard", 3_600_000, i64::MAX), ("count", 1, 5_000)] {
        let left_ms: i64 = redis::cmd("PTTL")
            .arg(format!("{}{kind}:scope:key", backend.prefix))
            .query_async(&mut connection)
            .await?;
        assert!(
            (at_least_ms..=at_most_ms).contains(&left_ms),
            "{kind}: {left_ms}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn nothing_is_acquired_while_redis_is_away() -> anyhow::Result<()> {
    let server = Redis::start()?;
    let url = server.url().to_owned();
    let guards = RedisGuards::new(RedisOptions::new(&url)?)?;
    let call = || guards.apply("scope", "key".into(), acquire());
    assert!(matches!(call().await?, Outcome::Acquired { .. }));
    drop(server);
    for _ in 0..3 {
        let error = call().await.err().context("acquired without Redis")?;
        assert!(matches!(error, Error::Unavailable { .. }), "{error}");
    }

    let port: u16 = url
        .trim_end_matches('/')
        .rsplit_once(':')
        .context("no port")?
        .1
        .parse()?;
    let _server = Redis::start_on(port)?;
    // It kept nothing, which is just what its documentation says of a restart.
    let mut last = call().await;
    for _ in 0..20 {
        if last.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        last = call().await;
    }
    assert!(matches!(last?, Outcome::Acquired { .. }));
    Ok(())
}

#[tokio::test]
async fn a_replica_is_refused() -> anyhow::Result<()> {
    let server = Redis::start()?;
    let mut connection = redis::Client::open(server.url())?
        .get_multiplexed_async_connection()
        .await?;
    let () = redis::cmd("REPLICAOF")
        .arg("127.0.0.1")
        .arg(1)
        .query_async(&mut connection)
        .await?;
    let guards = RedisGuards::new(RedisOptions::new(server.url())?)?;
    let error = guards.apply("scope", "key".into(), acquire()).await.err();
    assert!(
        matches!(error, Some(Error::Unavailable { .. })),
        "{error:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_silent_server_does_not_hold_the_caller() -> anyhow::Result<()> {
    let silent = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
    let mut options = RedisOptions::new(&format!("redis://{}/", silent.local_addr()?))?;
    options.timeout_ms = 200;
    let guards = RedisGuards::new(options)?;
    let error = guards.apply("scope", "key".into(), acquire()).await.err();
    assert!(matches!(error, Some(Error::TimedOut { .. })), "{error:?}");
    Ok(())
}

#[test]
fn an_unusable_url_is_refused() {
    for url in ["http://127.0.0.1", "redis://", "rediss://127.0.0.1/"] {
        assert!(RedisOptions::new(url).is_err(), "{url}");
    }
}
