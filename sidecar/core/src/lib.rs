//! The state machines of Outrigger, without I/O, clock, randomness or async.
//!
//! Time, randomness and ids come in as inputs; what is to be done comes out as events and
//! effects. The same code therefore runs live, on replay and under test, and every
//! replica that feeds it the same inputs has the same state.
//!
//! A driver always persists and syncs first and only **then** replies or sends.

pub mod breaker;
pub mod check_back;
pub mod guard;
pub mod half_message;
pub mod lease;
pub mod limits;
pub mod name;
pub mod placement;
pub mod retry;
pub mod saga;
#[cfg(feature = "simulation")]
pub mod simulation;

mod wire;
