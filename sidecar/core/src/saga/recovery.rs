//! What is to be done about a saga whose owner is gone.

use super::{Call, Effect, Input, Saga, event::Event, machine::Error, record::Record};

/// What is to be done about a saga now. It follows from the record and the time alone, so
/// that making it again, or making it elsewhere, gives the same plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Events to record first.
    pub events: Vec<Event>,
    /// Calls that can be made at once. Each may have been made before by the owner that is
    /// gone, with the same attempt number and the same idempotency key.
    pub calls: Vec<Call>,
    /// The result has to be delivered, perhaps again.
    pub deliver: bool,
    /// When there is something to do without anything happening before.
    pub next_deadline: Option<u64>,
}

/// Plans for a saga as it is recorded.
///
/// A driver needs no plan: a [`Saga`] made by [`Saga::recover`] does the same, and remembers
/// what is under way. The plan is for people and tests, to see what would be done.
///
/// # Errors
/// Never for a record that came about by [`Record::apply`].
pub fn plan(record: Record, now_ms: u64) -> Result<Plan, Error> {
    let mut saga = Saga::recover(record);
    let mut effects = Vec::new();
    saga.step(now_ms, 0, Input::Tick, &mut effects)?;
    let mut plan = Plan {
        events: Vec::new(),
        calls: Vec::new(),
        deliver: false,
        next_deadline: saga.next_deadline(),
    };
    for effect in effects {
        match effect {
            Effect::Append { events, .. } => plan.events = events,
            Effect::Call(call) => plan.calls.push(call),
            Effect::Deliver { .. } => plan.deliver = true,
        }
    }
    Ok(plan)
}
