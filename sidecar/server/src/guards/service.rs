use std::sync::Arc;

use bytes::Bytes;
use metrics::counter;
use outrigger_core::guard::{Input, Outcome};
use outrigger_log::Log;

use super::{Backend, EmbeddedGuards, Error, GuardStore, Options, RedisGuards};

/// All stores of this sidecar; cheap to clone.
#[derive(Clone)]
pub struct Guards {
    default: Backend,
    embedded: Arc<dyn GuardStore>,
    redis: Option<Arc<dyn GuardStore>>,
}

impl Guards {
    /// With the embedded store in `log`, and Redis as the options say.
    ///
    /// # Errors
    ///
    /// As [`Self::with_embedded`].
    pub fn new(log: Log, options: Options) -> Result<Self, Error> {
        Self::with_embedded(Arc::new(EmbeddedGuards::new(log)), options)
    }

    /// With the given embedded store, and Redis as the options say. Nothing is connected
    /// yet: a sidecar starts although Redis is away, and refuses the calls for it.
    ///
    /// # Errors
    ///
    /// When the default is a store that is not configured, or Redis' options are not usable.
    pub fn with_embedded(embedded: Arc<dyn GuardStore>, options: Options) -> Result<Self, Error> {
        let redis = options.redis.map(RedisGuards::new).transpose()?;
        let guards = Self {
            default: options.default,
            embedded,
            redis: redis.map(|redis| Arc::new(redis) as Arc<dyn GuardStore>),
        };
        guards.store(guards.default)?;
        Ok(guards)
    }

    /// Applies one input to one guard in the named store, or in the default one.
    ///
    /// # Errors
    ///
    /// When the store is not configured or cannot be asked. The guard is not acquired then,
    /// as far as the caller may know.
    pub async fn apply(
        &self,
        backend: Option<Backend>,
        scope: &str,
        key: Bytes,
        input: Input,
    ) -> Result<Outcome, Error> {
        let backend = backend.unwrap_or(self.default);
        let result = self.store(backend)?.apply(scope, key, input).await;
        let outcome = match &result {
            Ok(Outcome::Acquired {
                takeover: false, ..
            }) => "acquired",
            Ok(Outcome::Acquired { takeover: true, .. }) => "taken_over",
            Ok(Outcome::Busy { .. }) => "busy",
            Ok(Outcome::Done { .. }) => "done",
            Ok(Outcome::Mismatch) => "mismatch",
            Ok(Outcome::Held) => "held",
            Ok(Outcome::Lost) => "lost",
            Ok(Outcome::Count(_)) => "counted",
            Err(_) => "error",
        };
        counter!("outrigger_guard_calls_total", "backend" => backend.name(), "outcome" => outcome)
            .increment(1);
        result
    }

    fn store(&self, backend: Backend) -> Result<&dyn GuardStore, Error> {
        match backend {
            Backend::Embedded => Ok(self.embedded.as_ref()),
            Backend::Redis => self.redis.as_deref().ok_or(Error::NotConfigured {
                backend: backend.name(),
            }),
        }
    }
}
