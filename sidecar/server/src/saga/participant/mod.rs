//! Calling the participants of sagas.
//!
//! A participant is a service that carries out a step's action and undoes it. Its answer
//! says how that ended; everything else that can happen to a call leaves it unsettled, and
//! is never taken for an answer.
//!
//! What fails together is an *authority*: host and port of an endpoint. Each has its own
//! connections, its own limit of calls under way with a bounded queue before it, and its
//! own breaker. So a dead one delays nobody else's calls, and once it is known to be dead,
//! calls to it are not tried at all.

mod authorities;
mod authority;
mod body;
mod call;
mod caller;
mod connector;
mod ended;
mod endpoint;
mod gauges;
mod grpc;
mod http;
mod not_tried;
mod options;
mod resolver;
mod retry_after;
mod words;

#[cfg(test)]
mod tests;

pub use call::Call;
pub(in crate::saga) use call::phase_name;
pub use caller::Caller;
pub use endpoint::{Endpoint, EndpointError};
pub use not_tried::{KeptBack, NotTried};
pub use options::Options;
