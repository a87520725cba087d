use super::RedisOptions;

/// Which stores there are.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The store of calls that do not name one.
    pub default: Backend,
    /// Without it, calls for Redis are refused.
    pub redis: Option<RedisOptions>,
}

/// Where a guard is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Backend {
    /// In the log store.
    #[default]
    Embedded,
    /// In Redis.
    Redis,
}

impl Backend {
    /// As in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Redis => "redis",
        }
    }
}
