//! The orders: read from a CSV file, or made up like those of a real shop.

use std::path::Path;

use anyhow::Context as _;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use serde::{Deserialize, Serialize};

const SKUS: usize = 200;
const CUSTOMERS: usize = 1_500;
/// Exponents of the Zipf distributions: a few products are in everybody's basket, customers
/// differ less.
const SKU_SKEW: f64 = 1.05;
const CUSTOMER_SKEW: f64 = 0.6;

/// One line of the input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) order_id: String,
    pub(crate) customer: String,
    pub(crate) sku: String,
    pub(crate) quantity: i64,
    /// Of one piece, such as `19.90`.
    pub(crate) price: String,
}

impl Order {
    /// What the order costs.
    pub(crate) fn cents(&self) -> anyhow::Result<i64> {
        let (whole, fraction) = self.price.split_once('.').unwrap_or((&self.price, "0"));
        let cents: i64 = format!("{fraction:0<2}").parse()?;
        anyhow::ensure!(fraction.len() <= 2, "more than two digits after the point");
        Ok((whole.parse::<i64>()? * 100 + cents) * self.quantity)
    }

    fn check(&self) -> anyhow::Result<()> {
        anyhow::ensure!(!self.order_id.is_empty(), "order_id is empty");
        anyhow::ensure!(!self.sku.is_empty(), "sku is empty");
        anyhow::ensure!(
            (1..=1_000_000).contains(&self.quantity),
            "quantity {} is not between 1 and 1,000,000",
            self.quantity
        );
        self.cents()
            .with_context(|| format!("price {:?}", self.price))?;
        Ok(())
    }
}

pub(crate) fn read(path: &Path) -> anyhow::Result<Vec<Order>> {
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .from_path(path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    let mut orders = Vec::new();
    for (index, order) in reader.deserialize().enumerate() {
        let order: Order =
            order.with_context(|| format!("{}, order {}", path.display(), index + 1))?;
        order
            .check()
            .with_context(|| format!("{}, order {:?}", path.display(), order.order_id))?;
        orders.push(order);
    }
    Ok(orders)
}

pub(crate) fn write(path: &Path, orders: &[Order]) -> anyhow::Result<()> {
    let mut writer = csv::Writer::from_path(path)?;
    for order in orders {
        writer.serialize(order)?;
    }
    writer.flush()?;
    Ok(())
}

/// Makes up `count` orders.
pub(crate) fn generate(count: usize, seed: u64) -> Vec<Order> {
    let mut random = StdRng::seed_from_u64(seed);
    let skus = Zipf::new(SKUS, SKU_SKEW);
    let customers = Zipf::new(CUSTOMERS, CUSTOMER_SKEW);
    let prices: Vec<i64> = (0..SKUS).map(|_| price_cents(&mut random)).collect();
    (0..count)
        .map(|number| {
            let sku = skus.draw(&mut random);
            let cents = prices.get(sku).copied().unwrap_or(999);
            // Most people want one piece.
            let quantity = match random.random_range(0..100) {
                0..70 => 1,
                70..88 => 2,
                88..96 => 3,
                _ => random.random_range(4..=12),
            };
            Order {
                order_id: format!("order-{:06}", number + 1),
                customer: format!("customer-{:04}", customers.draw(&mut random) + 1),
                sku: format!("sku-{:03}", sku + 1),
                quantity,
                price: format!("{}.{:02}", cents / 100, cents % 100),
            }
        })
        .collect()
}

/// Between one and about four hundred, cheap ones being commoner, and ending as shops like it.
fn price_cents(random: &mut StdRng) -> i64 {
    let euros = 10_f64.powf(random.random_range(0.0..2.6));
    #[expect(clippy::cast_possible_truncation, reason = "below 400")]
    let euros = euros as i64;
    euros * 100
        + [49, 90, 95, 99]
            .get(random.random_range(0..4))
            .copied()
            .unwrap_or(99)
}

/// Draws the k-th of n things with a probability proportional to 1/k^skew.
struct Zipf {
    cumulated: Vec<f64>,
}

impl Zipf {
    fn new(n: usize, skew: f64) -> Self {
        let mut sum = 0.0;
        let cumulated = (1..=n)
            .map(|k| {
                #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
                let k = k as f64;
                sum += k.powf(-skew);
                sum
            })
            .collect();
        Self { cumulated }
    }

    fn draw(&self, random: &mut StdRng) -> usize {
        let sum = self.cumulated.last().copied().unwrap_or(1.0);
        let at = random.random_range(0.0..sum);
        self.cumulated
            .partition_point(|bound| *bound <= at)
            .min(self.cumulated.len().saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_orders_are_skewed_repeatable_and_survive_a_file() {
        let orders = generate(5_000, 7);
        assert_eq!(orders, generate(5_000, 7));
        assert_ne!(orders, generate(5_000, 8));
        let of_sku = |sku| orders.iter().filter(|order| order.sku == sku).count();
        assert!(of_sku("sku-001") > 20 * of_sku("sku-150"));

        let file = tempfile::NamedTempFile::new().unwrap();
        write(file.path(), &orders).unwrap();
        assert_eq!(read(file.path()).unwrap(), orders);
    }

    #[test]
    fn bad_lines_are_refused_by_name() {
        for (line, problem) in [
            ("o1,c,s,0,1.00", "quantity 0"),
            ("o1,c,s,1,1.999", "price \"1.999\""),
            ("o1,c,s,many,1.00", "order 1"),
            (",c,s,1,1.00", "order_id is empty"),
        ] {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(
                file.path(),
                format!("order_id,customer,sku,quantity,price\n{line}\n"),
            )
            .unwrap();
            let error = format!("{:#}", read(file.path()).unwrap_err());
            assert!(error.contains(problem), "{error}");
        }
        let order = Order {
            order_id: "o1".to_owned(),
            customer: "c".to_owned(),
            sku: "s".to_owned(),
            quantity: 3,
            price: "19.9".to_owned(),
        };
        assert_eq!(order.cents().unwrap(), 5_970);
    }
}
