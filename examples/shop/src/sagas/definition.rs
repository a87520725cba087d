//! What an order is: a saga, or TCC, over the four services.

use std::{net::SocketAddr, time::Duration};

use outrigger_sdk::saga::{self, DefinitionError, Endpoint, Retry, wire::SagaDefinition};
use serde::Serialize;

use super::Basket;
use crate::args::{Mode, ServiceName};

/// The name of the definition.
pub(super) const ORDER: &str = "order";
/// Longer than a participant waits for its database.
const CALL_MAX: Duration = Duration::from_secs(8);
/// Services that were killed are back soon.
const RETRY_BASE: Duration = Duration::from_millis(50);
const RETRY_CAP: Duration = Duration::from_millis(1_000);

/// What a participant gives back.
#[derive(Debug, Serialize)]
pub(super) struct Done;

/// Where the participants are: in the order of [`ServiceName`].
pub(super) struct Participants<'a>(pub(super) &'a [SocketAddr]);

impl Participants<'_> {
    fn endpoint<O>(&self, name: ServiceName) -> Endpoint<Basket, O> {
        let address = self.0.get(name as usize);
        let address = address.map_or_else(String::new, ToString::to_string);
        let retry = Retry::new().base(RETRY_BASE).cap(RETRY_CAP).unbounded();
        Endpoint::http(format!("http://{address}/participate"))
            .timeout(CALL_MAX)
            .retry(retry)
    }

    /// The definition of an order.
    pub(super) fn define(&self, mode: Mode) -> Result<SagaDefinition, DefinitionError> {
        match mode {
            Mode::Tcc => self.tcc(),
            Mode::Saga | Mode::Messages => self.saga(),
        }
    }

    /// Stock and points at once, then the payment, then the order: from there on there is no way
    /// back.
    fn saga(&self) -> Result<SagaDefinition, DefinitionError> {
        let mut order = saga::define::<Basket>(ORDER);
        let basket = order.input();
        let reserve = order
            .step("reserve-stock", self.action(ServiceName::Stock), &basket)
            .undo(self.endpoint(ServiceName::Stock))
            .add();
        let debit = order
            .step("debit-points", self.action(ServiceName::Points), &basket)
            .undo(self.endpoint(ServiceName::Points))
            .add();
        let charge = order
            .step(
                "charge-payment",
                self.action(ServiceName::Payments),
                &basket,
            )
            .undo(self.endpoint(ServiceName::Payments))
            .after(&reserve)
            .after(&debit)
            .add();
        order
            .step("confirm-order", self.action(ServiceName::Order), &basket)
            .after(&charge)
            .pivot()
            .add();
        order.build()
    }

    /// All at once; whether it is all confirmed or all cancelled is decided when all are tried.
    fn tcc(&self) -> Result<SagaDefinition, DefinitionError> {
        let mut order = saga::define_tcc::<Basket>(ORDER);
        let basket = order.input();
        for (step, name) in [
            ("order", ServiceName::Order),
            ("stock", ServiceName::Stock),
            ("points", ServiceName::Points),
            ("payment", ServiceName::Payments),
        ] {
            order
                .step(step, self.action(name), &basket)
                .confirm(self.action(name))
                .undo(self.endpoint(name))
                .add();
        }
        order.build()
    }

    fn action(&self, name: ServiceName) -> Endpoint<Basket, Done> {
        self.endpoint(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_definitions_are_ones() {
        let addresses = [([127, 0, 0, 1], 1).into(); 4];
        let saga = Participants(&addresses).define(Mode::Saga).unwrap();
        assert_eq!(saga.steps[2].depends_on.len(), 2);
        let tcc = Participants(&addresses).define(Mode::Tcc).unwrap();
        assert_eq!(tcc.steps.len(), 4);
    }
}
