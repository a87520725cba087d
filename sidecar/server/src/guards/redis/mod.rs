//! Guards in Redis.
//!
//! # What it guarantees
//!
//! As long as one Redis primary keeps its data, exactly what the full record says: one
//! holder at a time by Redis' own clock, a fencing number that grows with every holder,
//! and a result that is remembered. Every operation is one script, so nobody sees half of
//! one. When Redis cannot be asked the call fails: nothing is ever taken for free.
//!
//! `set_nx` guards are a plain key with an expiry, as many programs have them: there is no
//! fencing number (0 is answered), no result, and after the deadline nothing tells that
//! there was an earlier holder.
//!
//! # What it does not
//!
//! Redis answers before its replicas, and by default before its disk, have the write. A
//! failover, or a restart without `appendfsync always`, forgets the last writes that were
//! answered. Then a second caller can acquire a guard that is held, *with the same fencing
//! number*; a completed key can be worked on again; a counter can count back. The same
//! happens under a `maxmemory-policy` other than `noeviction`, at any time.
//!
//! So these guards keep nearly all duplicates away, cheaply. Where an effect must happen
//! once even then, the inbox in the effect's own database transaction decides, or the
//! guard is embedded in the log store.
//!
//! A fencing number is kept for a day after its last holder; a key unused for longer
//! starts at 1 again. Longer than any lease, so no holder is left by then.

mod options;

use std::time::Duration;

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt as _};
use outrigger_core::{
    guard::{Input, Mode, Outcome},
    limits::GUARD_FENCING_KEPT_MS,
};
use redis::{
    ErrorKind, FromRedisValue as _, RedisError, Script, ScriptInvocation, ServerErrorKind, Value,
    aio::{ConnectionManager, ConnectionManagerConfig},
};

use super::{Error, GuardStore};
pub use options::RedisOptions;

/// Guards in one Redis, over one multiplexed connection that is made again when lost.
pub struct RedisGuards {
    options: RedisOptions,
    connection: ConnectionManager,
    guard: Script,
    increment: Script,
}

impl RedisGuards {
    /// Connects on first use. Must be called within a tokio runtime.
    ///
    /// # Errors
    ///
    /// When the URL is not usable.
    pub fn new(options: RedisOptions) -> Result<Self, Error> {
        // A call may have to connect first and shall still end in time.
        let timeout = Some(Duration::from_millis(options.timeout_ms / 2));
        // Without attempts of its own, so that a caller hears of a failure at once; the next
        // call tries again.
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(0)
            .set_connection_timeout(timeout)
            .set_response_timeout(timeout)
            .set_concurrency_limit(options.in_flight_calls_max);
        let connection = ConnectionManager::new_lazy_with_config(options.client.clone(), config)
            .map_err(|error| Error::Url {
                message: error.to_string(),
            })?;
        Ok(Self {
            options,
            connection,
            guard: Script::new(include_str!("guard.lua")),
            increment: Script::new(include_str!("increment.lua")),
        })
    }

    async fn run(&self, scope: &str, key: &[u8], input: Input) -> Result<Outcome, Error> {
        let script = self.invocation(scope, key, input);
        let mut connection = self.connection.clone();
        let limit_ms = self.options.timeout_ms;
        // The connection's own limits do not cover the wait for a place in the pipeline.
        let answer: Value = tokio::time::timeout(
            Duration::from_millis(limit_ms),
            script.invoke_async(&mut connection),
        )
        .await
        .map_err(|_elapsed| Error::TimedOut {
            server: self.options.server.clone(),
            limit_ms,
        })?
        .map_err(|error| self.failure(&error))?;
        outcome(answer).ok_or_else(|| Error::Refused {
            server: self.options.server.clone(),
            message: "the answer of the script is not understood".to_owned(),
        })
    }

    fn invocation(&self, scope: &str, key: &[u8], input: Input) -> ScriptInvocation<'_> {
        let kind = match input {
            Input::Increment { .. } => "count",
            _ => "guard",
        };
        // A scope has no colon, so no two pairs of scope and key give the same name.
        let prefix = &self.options.key_prefix;
        let name = [format!("{prefix}{kind}:{scope}:").as_bytes(), key].concat();
        let mut script = match input {
            Input::Increment { .. } => self.increment.key(name),
            _ => self.guard.key(name),
        };
        let operation = |script: &mut ScriptInvocation<'_>, name: &str, token: &str| {
            script.arg(name).arg(token).arg(GUARD_FENCING_KEPT_MS);
        };
        match input {
            Input::Acquire {
                mode,
                token,
                fingerprint,
                lease_ms,
            } => {
                operation(&mut script, "acquire", &token);
                let mode = match mode {
                    Mode::Record => "record",
                    Mode::SetNx => "set_nx",
                };
                script.arg(lease_ms).arg(&*fingerprint).arg(mode);
            }
            Input::Extend { token, lease_ms } => {
                operation(&mut script, "extend", &token);
                script.arg(lease_ms);
            }
            Input::Complete {
                token,
                result,
                ttl_ms,
            } => {
                operation(&mut script, "complete", &token);
                script.arg(ttl_ms).arg(&*result);
            }
            Input::Release { token } => operation(&mut script, "release", &token),
            Input::Increment { ttl_ms } => {
                script.arg(ttl_ms);
            }
        }
        script
    }

    fn failure(&self, error: &RedisError) -> Error {
        let server = self.options.server.clone();
        let message = error.to_string();
        if error.is_timeout() {
            return Error::TimedOut {
                server,
                limit_ms: self.options.timeout_ms,
            };
        }
        match error.kind() {
            ErrorKind::Io
            | ErrorKind::ClusterConnectionNotFound
            | ErrorKind::Server(
                ServerErrorKind::BusyLoading
                | ServerErrorKind::TryAgain
                | ServerErrorKind::ClusterDown
                | ServerErrorKind::MasterDown
                // A primary that has become a replica: the connection is to the wrong one.
                | ServerErrorKind::ReadOnly,
            ) => Error::Unavailable { server, message },
            _ => Error::Refused { server, message },
        }
    }
}

impl GuardStore for RedisGuards {
    fn apply<'a>(
        &'a self,
        scope: &'a str,
        key: Bytes,
        input: Input,
    ) -> BoxFuture<'a, Result<Outcome, Error>> {
        async move { self.run(scope, &key, input).await }.boxed()
    }
}

/// What a script answered: the outcome's name, then its fields.
fn outcome(answer: Value) -> Option<Outcome> {
    let mut fields = Vec::<Value>::from_redis_value(answer).ok()?.into_iter();
    let name = String::from_redis_value(fields.next()?).ok()?;
    let mut number = || u64::from_redis_value(fields.next()?).ok();
    Some(match name.as_str() {
        "acquired" => Outcome::Acquired {
            fencing: number()?,
            takeover: number()? == 1,
        },
        "busy" => Outcome::Busy {
            retry_after_ms: number()?,
        },
        "done" => Outcome::Done {
            result: Vec::<u8>::from_redis_value(fields.next()?).ok()?.into(),
        },
        "mismatch" => Outcome::Mismatch,
        "held" => Outcome::Held,
        "lost" => Outcome::Lost,
        "count" => Outcome::Count(number()?),
        _ => return None,
    })
}
