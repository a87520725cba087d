use super::fence::UrlError;

/// Why check-back could not start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The database of a producer group cannot be used.
    #[error("producer group {producer_group}: {source}")]
    Database {
        /// The producer group.
        producer_group: String,
        /// What is wrong with it.
        source: UrlError,
    },
}
