//! Sagas: a process over several services that completes or is undone.
//!
//! A definition is built from typed steps. What a step is called with is made from the saga's
//! input and the outputs of earlier steps; whoever uses an output comes after it by itself.
//!
//! ```
//! use outrigger_sdk::saga::{self, Endpoint, Value};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
//! struct Order {
//!     id: u64,
//! }
//! #[derive(Serialize, Deserialize)]
//! struct Reservation {
//!     id: String,
//! }
//! #[derive(Serialize, Deserialize)]
//! struct Charge {
//!     order: u64,
//!     reservation: String,
//! }
//!
//! let mut order = saga::define::<Order>("order");
//! let input = order.input();
//! let reserve = order
//!     .step("reserve", Endpoint::<Order, Reservation>::http("http://stock:8080/reserve"), &input)
//!     .undo(Endpoint::http("http://stock:8080/release"))
//!     .add();
//! let charge = Value::object()
//!     .field("order", &input.at::<u64>("/id"))
//!     .field("reservation", &reserve.output().at::<String>("/id"))
//!     .build();
//! order
//!     .step("charge", Endpoint::<Charge, ()>::http("http://payment:8080/charge"), &charge)
//!     .pivot()
//!     .add();
//! let definition = order.build()?;
//! assert_eq!(definition.steps[1].depends_on, ["reserve"]);
//! # Ok::<(), saga::DefinitionError>(())
//! ```
//!
//! The [`Client`] has the sidecar keep it, starts sagas, and waits for their ends.

mod builder;
mod check;
mod client;
mod endpoint;
mod error;
mod step;
#[cfg(test)]
mod tests;
mod value;

pub use builder::{Builder, define, define_tcc};
pub use check::check;
pub use client::{
    ByHand, Client, Defined, Details, Error, Filter, Info, Page, Start, Status, wire,
};
pub use endpoint::{Endpoint, ErrorClass, Retry};
pub use error::DefinitionError;
pub use step::{StepBuilder, StepRef};
pub use value::{ObjectBuilder, Value};
