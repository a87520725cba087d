//! Idempotency guards: a record per key that lets one holder work and remembers the
//! result. The rules are the core's ([`outrigger_core::guard`]); here are the places where
//! records can be kept, each with its own guarantee: see
//! [`EmbeddedGuards`] and [`RedisGuards`].

mod embedded;
mod error;
mod fake;
mod options;
mod redis;
mod service;

use bytes::Bytes;
use futures::future::BoxFuture;
use outrigger_core::guard::{Input, Outcome};

pub use self::redis::{RedisGuards, RedisOptions};
pub use embedded::EmbeddedGuards;
pub use error::Error;
pub use fake::FakeGuards;
pub use options::{Backend, Options};
pub use service::Guards;

/// A place where guards are kept.
///
/// One conformance suite runs on all of them. They may differ only where
/// [`Mode::SetNx`](outrigger_core::guard::Mode::SetNx) promises nothing: its fencing number,
/// and what is known of a holder whose deadline has passed.
pub trait GuardStore: Send + Sync + 'static {
    /// Applies one input to one key, atomically, by the store's own clock.
    ///
    /// # Errors
    ///
    /// When the store cannot be asked; the input may have been applied nevertheless.
    fn apply<'a>(
        &'a self,
        scope: &'a str,
        key: Bytes,
        input: Input,
    ) -> BoxFuture<'a, Result<Outcome, Error>>;
}
