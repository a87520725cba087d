use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use serde::{Deserialize, Serialize};

use crate::input::Order;

/// One customer in so many has a card that the bank declines.
const DECLINED_ONE_IN: u32 = 20;
/// So many cents of the price cost one point of the customer's.
const CENTS_PER_POINT: i64 = 1_000;

/// What a customer wants, and the input of its saga.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Basket {
    pub(crate) order_id: String,
    pub(crate) customer: String,
    pub(crate) sku: String,
    pub(crate) quantity: i64,
    pub(crate) cents: i64,
    /// What it costs besides.
    pub(crate) points: i64,
    pub(crate) card: Card,
}

/// What the bank says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Card {
    Good,
    Declined,
}

/// The baskets of a run; the seed decides whose card is declined.
pub(super) fn baskets(orders: &[Order], seed: u64) -> anyhow::Result<Vec<Basket>> {
    let mut random = StdRng::seed_from_u64(seed ^ 0xCA_4D);
    let basket = |order: &Order| {
        let cents = order.cents()?;
        Ok(Basket {
            order_id: order.order_id.clone(),
            customer: order.customer.clone(),
            sku: order.sku.clone(),
            quantity: order.quantity,
            cents,
            points: cents.div_euclid(CENTS_PER_POINT) + 1,
            card: match random.random_ratio(1, DECLINED_ONE_IN) {
                true => Card::Declined,
                false => Card::Good,
            },
        })
    };
    orders.iter().map(basket).collect()
}
