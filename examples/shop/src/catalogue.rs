//! How much of everything the shop has at the beginning.

use std::collections::BTreeMap;

use crate::input::Order;

/// One product in so many is popular, and the shop has less of it than is wanted.
const SCARCE_ONE_IN: usize = 10;
const SCARCE_PERCENT: i64 = 85;

/// Pieces of each SKU: too few of the most wanted ones, so that some orders have to be refused.
pub(crate) fn initial_stock(orders: &[Order]) -> BTreeMap<String, i64> {
    scarce(orders.iter().map(|order| (&*order.sku, order.quantity)))
}

/// As much of everything as is wanted, but too little of what is wanted most.
pub(crate) fn scarce<'o>(wants: impl Iterator<Item = (&'o str, i64)>) -> BTreeMap<String, i64> {
    let mut wanted: BTreeMap<String, i64> = BTreeMap::new();
    for (what, amount) in wants {
        *wanted.entry(what.to_owned()).or_default() += amount;
    }
    let mut by_demand: Vec<(String, i64)> = wanted.into_iter().collect();
    by_demand.sort_by_key(|(_, wanted)| std::cmp::Reverse(*wanted));
    let scarce = by_demand.len().div_ceil(SCARCE_ONE_IN);
    by_demand
        .into_iter()
        .enumerate()
        .map(|(rank, (what, wanted))| {
            let has = if rank < scarce {
                wanted * SCARCE_PERCENT / 100
            } else {
                wanted
            };
            (what, has)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::generate;

    #[test]
    fn the_most_wanted_product_is_scarce_and_the_least_wanted_is_not() {
        let orders = generate(5_000, 3);
        let stock = initial_stock(&orders);
        let wanted = |sku: &str| -> i64 {
            let of_sku = orders.iter().filter(|order| order.sku == sku);
            of_sku.map(|order| order.quantity).sum()
        };
        assert!(stock["sku-001"] < wanted("sku-001"));
        assert_eq!(stock["sku-190"], wanted("sku-190"));
    }
}
