use std::sync::Arc;

use redis::{Script, ScriptInvocation, ToRedisArgs};

const BARRIER: &str = include_str!("barrier.lua");
const ADJUST: &str = include_str!("adjust.lua");
const PLACE_OF_EFFECT: &str = "@EFFECT@";

/// What a call does in Redis: the body of a Lua function that runs within the barrier's own
/// script. Make it once and clone it; Redis knows it by its digest.
///
/// # What the body may do
///
/// It has its own `KEYS` and `ARGV`, those of [`RedisEffect::key`] and [`RedisEffect::arg`].
/// What it returns (a string, a whole number, nothing) is the output of the call. A business
/// failure is `return redis.error_reply('REFUSED and why')`; any other error is a failure, and
/// the saga calls again.
///
/// Redis cannot roll back. **Check first, then write**, so that nothing can fail after the
/// first write; a body that fails in the middle leaves what it has written, and runs again.
#[derive(Debug, Clone)]
pub struct RedisEffect {
    script: Arc<Script>,
    keys: Vec<Vec<u8>>,
    arguments: Vec<Vec<u8>>,
}

impl RedisEffect {
    /// The body of a Lua function. It must come from the program itself, never from outside.
    pub fn script(body: &str) -> Self {
        Self {
            script: Arc::new(Script::new(&BARRIER.replace(PLACE_OF_EFFECT, body))),
            keys: Vec::new(),
            arguments: Vec::new(),
        }
    }

    /// Adds to whole numbers, all of them or none. The output is what they are after that,
    /// separated by commas.
    pub fn adjust(adjustments: impl IntoIterator<Item = Adjustment>) -> Self {
        let mut effect = Self::script(ADJUST);
        for adjustment in adjustments {
            let (kind, field) = match adjustment.field {
                Some(field) => ("field", field),
                None => ("string", Vec::new()),
            };
            let least = adjustment.at_least.map(|least| least.to_string());
            effect = effect
                .key(adjustment.key)
                .arg(kind)
                .arg(field)
                .arg(adjustment.by)
                .arg(least.unwrap_or_default());
        }
        effect
    }

    /// The next one of the body's `KEYS`. In a Redis Cluster it must be in the slot of the
    /// barrier's rows, see [`RedisBarrier::key_prefix`](super::RedisBarrier::key_prefix).
    #[must_use]
    pub fn key(mut self, key: impl ToRedisArgs) -> Self {
        self.keys.extend(key.to_redis_args());
        self
    }

    /// The next one of the body's `ARGV`.
    #[must_use]
    pub fn arg(mut self, argument: impl ToRedisArgs) -> Self {
        self.arguments.extend(argument.to_redis_args());
        self
    }

    /// The script with the barrier's part; the effect's keys and arguments follow.
    pub(super) fn invocation(&self) -> ScriptInvocation<'_> {
        self.script.prepare_invoke()
    }

    pub(super) fn keys(&self) -> &[Vec<u8>] {
        &self.keys
    }

    pub(super) fn arguments(&self) -> &[Vec<u8>] {
        &self.arguments
    }
}

/// Adds to one whole number, see [`RedisEffect::adjust`]. Numbers are exact up to 2^53; a
/// larger one is a failure. One that is absent is 0.
#[derive(Debug, Clone)]
pub struct Adjustment {
    key: Vec<u8>,
    field: Option<Vec<u8>>,
    by: i64,
    at_least: Option<i64>,
}

impl Adjustment {
    /// Of a string, as `INCRBY` does.
    pub fn counter(key: impl Into<Vec<u8>>, by: i64) -> Self {
        Self {
            key: key.into(),
            field: None,
            by,
            at_least: None,
        }
    }

    /// Of a field of a hash, as `HINCRBY` does.
    pub fn field(key: impl Into<Vec<u8>>, field: impl Into<Vec<u8>>, by: i64) -> Self {
        Self {
            key: key.into(),
            field: Some(field.into()),
            by,
            at_least: None,
        }
    }

    /// It must not become less than this, or the call is refused.
    #[must_use]
    pub fn at_least(mut self, least: i64) -> Self {
        self.at_least = Some(least);
        self
    }
}
