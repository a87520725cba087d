//! The barrier in Redis.

mod effect;

use std::time::Duration;

use bytes::Bytes;
use redis::{FromRedisValue as _, RedisError, Value, aio::ConnectionLike};

use super::{
    Call, Error, LONGEST_SAGA_DEFAULT, OUTPUT_MAX_BYTES, Outcome, RETENTION_MARGIN, sql::check_age,
};
pub use effect::{Adjustment, RedisEffect};

const KEY_PREFIX: &str = "outrigger:";
/// The longest that rows are kept, 10 years: Redis refuses an expiry that is too far away, and
/// would do so after the effect.
const RETENTION_MAX_MS: u128 = 10 * 365 * 24 * 60 * 60 * 1_000;

/// The barrier for effects in Redis: one script decides whether the call is for the first
/// time, and if so runs the effect and records its output. Cheap to clone when the connection
/// is.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use outrigger_sdk::barrier::{Adjustment, Call, Phase, RedisBarrier, RedisEffect};
///
/// let client = redis::Client::open("redis://127.0.0.1/")?;
/// let barrier = RedisBarrier::new(client.get_multiplexed_async_connection().await?);
///
/// let debit = RedisEffect::adjust([Adjustment::counter("points:17", -30).at_least(0)]);
/// let call = Call::new("saga-17", "debit-points", Phase::Action)?;
/// let outcome = barrier.run(&call, &debit).await?;
/// # Ok(())
/// # }
/// ```
///
/// # What it guarantees
///
/// As long as one Redis primary keeps its data, what the barrier in a database does: an effect
/// happens once, together with its row. Both are in one script, so no other client comes in
/// between, and a crash of Redis has both or none.
///
/// # What it does not
///
/// Redis answers before its replicas, and by default before its disk, have the write. A
/// failover, or a restart without `appendfsync always`, **forgets the last effects that were
/// answered, with their rows**. The saga goes on as if they had happened: points that were
/// debited are back, and an undo that comes later finds no action and does nothing. Effect and
/// row are lost together, so nothing is doubled by it. A `maxmemory-policy` other than
/// `noeviction` is worse: it may evict a row and keep its effect, and then a repeated call has
/// it twice. Keep balances that must be right in a database.
///
/// Redis cannot roll back; see [`RedisEffect`] for what a script must keep to.
///
/// # How long rows are kept
///
/// The rows of a step are one hash. It expires when its last write is as old as the
/// [longest saga](RedisBarrier::longest_saga) and [`RETENTION_MARGIN`].
#[derive(Debug, Clone)]
pub struct RedisBarrier<C> {
    connection: C,
    key_prefix: String,
    longest_saga: Duration,
}

impl<C: ConnectionLike + Clone> RedisBarrier<C> {
    /// Over a connection whose own limits bound how long a call may take.
    pub fn new(connection: C) -> Self {
        Self {
            connection,
            key_prefix: KEY_PREFIX.to_owned(),
            longest_saga: LONGEST_SAGA_DEFAULT,
        }
    }

    /// What the key of every row begins with; `outrigger:` by default. In a Redis Cluster the
    /// rows and the effect's keys have to be in one slot: give both the same hash tag, such as
    /// the prefix `{points}:`.
    #[must_use]
    pub fn key_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.key_prefix = prefix.into();
        self
    }

    /// The longest that a saga which calls here may last, from its start to its end, the time
    /// it is parked included; [`LONGEST_SAGA_DEFAULT`] otherwise. Rows are kept for a day more,
    /// but not for more than 10 years.
    #[must_use]
    pub fn longest_saga(mut self, longest: Duration) -> Self {
        self.longest_saga = longest;
        self
    }

    /// Runs `effect`, unless the call has its answer already.
    ///
    /// # Errors
    ///
    /// See [`Error`]. A business failure is no error but [`Outcome::Refused`].
    pub async fn run(&self, call: &Call, effect: &RedisEffect) -> Result<Outcome, Error> {
        check_age(call, self.longest_saga)?;
        let undoes = call.phase().undoes().map_or("", |first| first.name());
        let kept = self.longest_saga.saturating_add(RETENTION_MARGIN);
        let kept_ms = kept.as_millis().min(RETENTION_MAX_MS);
        let mut script = effect.invocation();
        script
            .key(self.row(call))
            .key(effect.keys())
            .arg(call.phase().name())
            .arg(undoes)
            .arg(call.attempt_number())
            .arg(kept_ms.to_string())
            .arg(OUTPUT_MAX_BYTES)
            .arg(effect.arguments());
        let answer: Vec<Value> = script.invoke_async(&mut self.connection.clone()).await?;
        read(call, answer)?
    }

    /// The length of the saga's id keeps two pairs of saga and step from having one key.
    fn row(&self, call: &Call) -> String {
        let (prefix, saga_id) = (&self.key_prefix, call.saga_id());
        format!(
            "{prefix}barrier:{}:{saga_id}:{}",
            saga_id.len(),
            call.step()
        )
    }
}

/// What the script answered: a name, then its field.
fn read(call: &Call, answer: Vec<Value>) -> Result<Result<Outcome, Error>, RedisError> {
    let mut fields = answer.into_iter();
    let name = String::from_redis_value(fields.next().unwrap_or(Value::Nil))?;
    let mut bytes = || match fields.next() {
        Some(field) => Vec::<u8>::from_redis_value(field).map(Bytes::from),
        None => Ok(Bytes::new()),
    };
    Ok(Ok(match name.as_str() {
        "done" => Outcome::Done(bytes()?),
        "repeated" => Outcome::Repeated(bytes()?),
        "null_undo" => Outcome::NullUndo,
        "too_late" => Outcome::TooLate,
        "refused" | "refused_before" => Outcome::Refused {
            reason: bytes()?,
            repeated: name == "refused_before",
        },
        _ => return Ok(Err(failure(call, &name, &bytes()?))),
    }))
}

fn failure(call: &Call, name: &str, field: &Bytes) -> Error {
    let text = String::from_utf8_lossy(field);
    let too_large = |what| Error::OutputTooLarge {
        what,
        bytes: text.parse().unwrap_or_default(),
        max_bytes: OUTPUT_MAX_BYTES,
    };
    match name {
        "nothing_to_confirm" => Error::NothingToConfirm {
            saga_id: call.saga_id().to_owned(),
            step: call.step().to_owned(),
        },
        "output_too_large" => too_large("output"),
        "refusal_too_large" => too_large("refusal"),
        "failed" => Error::Failed(text.into()),
        _ => Error::UnknownOutcome {
            call: call.to_string(),
            outcome: name.to_owned(),
        },
    }
}
