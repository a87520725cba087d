//! Compares what the three services have in their databases with each other, with what the
//! customers were told, and with the log.

use std::collections::BTreeMap;

use serde::Serialize;
use sqlx::Pool;

use crate::args::ServiceName;
use crate::{
    database::ShopDatabase,
    services::{effects::points, order::Status},
    setup::Databases,
};

const ORDERS: &str = "SELECT id, cents FROM orders";
const SOLD: &str = "SELECT sku, CAST(SUM(quantity) AS BIGINT) FROM orders GROUP BY sku";
const ON_SHELF: &str = "SELECT sku, left_for_sale FROM shelf";
const DEDUCTIONS: &str = "SELECT order_id, quantity FROM deduction";
const IN_STOCK: &str = "SELECT sku, on_hand FROM stock";
const CREDITS: &str = "SELECT order_id, points FROM credit";
const ACCOUNTS: &str = "SELECT customer, points FROM account";

/// Everything that is compared.
#[derive(Debug, Default)]
pub(crate) struct Books {
    /// Committed orders, and what they cost.
    pub(crate) orders: BTreeMap<String, i64>,
    sold: BTreeMap<String, i64>,
    on_shelf: BTreeMap<String, i64>,
    /// Pairs of order and amount; an order should be there once.
    pub(crate) deductions: Vec<(String, i64)>,
    in_stock: BTreeMap<String, i64>,
    pub(crate) credits: Vec<(String, i64)>,
    accounts: BTreeMap<String, i64>,
}

/// The three databases, opened for reading.
pub(crate) struct Readers<DB: ShopDatabase> {
    orders: Pool<DB>,
    stock: Pool<DB>,
    points: Pool<DB>,
}

impl<DB: ShopDatabase> Readers<DB> {
    pub(crate) async fn open(databases: &Databases) -> anyhow::Result<Self> {
        Ok(Self {
            orders: DB::connect(databases.url(ServiceName::Order)).await?,
            stock: DB::connect(databases.url(ServiceName::Stock)).await?,
            points: DB::connect(databases.url(ServiceName::Points)).await?,
        })
    }

    /// How many orders are committed, deducted and credited.
    pub(crate) async fn counts(&self) -> anyhow::Result<(i64, i64, i64)> {
        let count = async |pool, sql| {
            let number = DB::number(pool, sql, &[]).await?;
            anyhow::Ok(number.unwrap_or(0))
        };
        Ok((
            count(&self.orders, "SELECT COUNT(*) FROM orders").await?,
            count(&self.stock, "SELECT COUNT(*) FROM deduction").await?,
            count(&self.points, "SELECT COUNT(*) FROM credit").await?,
        ))
    }

    pub(crate) async fn read(&self) -> anyhow::Result<Books> {
        let map = async |pool, sql| -> anyhow::Result<BTreeMap<String, i64>> {
            Ok(DB::pairs(pool, sql).await?.into_iter().collect())
        };
        Ok(Books {
            orders: map(&self.orders, ORDERS).await?,
            sold: map(&self.orders, SOLD).await?,
            on_shelf: map(&self.orders, ON_SHELF).await?,
            deductions: DB::pairs(&self.stock, DEDUCTIONS).await?,
            in_stock: map(&self.stock, IN_STOCK).await?,
            credits: DB::pairs(&self.points, CREDITS).await?,
            accounts: map(&self.points, ACCOUNTS).await?,
        })
    }

    pub(crate) async fn close(self) {
        self.orders.close().await;
        self.stock.close().await;
        self.points.close().await;
    }
}

/// The result of a run; with `--json` this is what is printed.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub(crate) struct Report {
    pub(crate) orders_placed: usize,
    pub(crate) orders_committed: usize,
    pub(crate) orders_refused: usize,
    pub(crate) stock_deducted: usize,
    pub(crate) points_credited: usize,
    /// Effects that a committed order should have had, and has not.
    pub(crate) lost: usize,
    /// Effects that happened again.
    pub(crate) duplicated: usize,
    /// Effects without a committed order.
    pub(crate) phantom: usize,
    pub(crate) kills: u64,
    pub(crate) seconds: f64,
}

/// Compares; returns the report and every disagreement that its counts do not show.
pub(crate) fn reconcile(
    books: &Books,
    answers: &BTreeMap<String, Status>,
    initial_stock: &BTreeMap<String, i64>,
    unresolved: u64,
) -> (Report, Vec<String>) {
    let stock = compare(&books.orders, &books.deductions);
    let credit = compare(&books.orders, &books.credits);
    let report = Report {
        orders_placed: answers.len(),
        orders_committed: books.orders.len(),
        orders_refused: count(answers, Status::Refused),
        stock_deducted: books.deductions.len(),
        points_credited: books.credits.len(),
        lost: stock.lost + credit.lost,
        duplicated: stock.duplicated + credit.duplicated,
        phantom: stock.phantom + credit.phantom,
        ..Report::default()
    };
    let mut disagreements = Vec::new();
    for (order, status) in answers {
        let is_there = books.orders.contains_key(order);
        if is_there != (*status == Status::Committed) {
            disagreements.push(format!(
                "{order} was answered {status:?}, and its being in the order database is {is_there}"
            ));
        }
    }
    for (sku, initial) in initial_stock {
        let sold = books.sold.get(sku).copied().unwrap_or(0);
        for (place, amounts) in [("shelf", &books.on_shelf), ("stock", &books.in_stock)] {
            let left = amounts.get(sku).copied().unwrap_or(0);
            if left != initial - sold {
                disagreements.push(format!(
                    "{place} of {sku}: {left} left of {initial}, but {sold} were sold"
                ));
            }
        }
    }
    let credited: i64 = books.accounts.values().sum();
    let earned: i64 = books.orders.values().copied().map(points).sum();
    if credited != earned {
        disagreements.push(format!(
            "{credited} points on accounts, {earned} were earned"
        ));
    }
    if unresolved != 0 {
        disagreements.push(format!(
            "{unresolved} transactions are unresolved in the log"
        ));
    }
    (report, disagreements)
}

#[derive(Default)]
struct Comparison {
    lost: usize,
    duplicated: usize,
    phantom: usize,
}

fn compare(orders: &BTreeMap<String, i64>, effects: &[(String, i64)]) -> Comparison {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for (order, _) in effects {
        *seen.entry(order).or_default() += 1;
    }
    let mut comparison = Comparison::default();
    for (order, times) in &seen {
        if orders.contains_key(*order) {
            comparison.duplicated += times - 1;
        } else {
            comparison.phantom += times;
        }
    }
    comparison.lost = orders
        .keys()
        .filter(|order| !seen.contains_key(order.as_str()))
        .count();
    comparison
}

fn count(answers: &BTreeMap<String, Status>, status: Status) -> usize {
    answers.values().filter(|answer| **answer == status).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn balanced() -> (Books, BTreeMap<String, Status>, BTreeMap<String, i64>) {
        let books = Books {
            orders: [("a".to_owned(), 250), ("b".to_owned(), 1_000)].into(),
            sold: [("s".to_owned(), 3)].into(),
            on_shelf: [("s".to_owned(), 7)].into(),
            deductions: vec![("a".to_owned(), 1), ("b".to_owned(), 2)],
            in_stock: [("s".to_owned(), 7)].into(),
            credits: vec![("a".to_owned(), 2), ("b".to_owned(), 10)],
            accounts: [("c".to_owned(), 12)].into(),
        };
        let answers = [
            ("a".to_owned(), Status::Committed),
            ("b".to_owned(), Status::Committed),
            ("x".to_owned(), Status::Refused),
        ];
        (books, answers.into(), [("s".to_owned(), 10)].into())
    }

    #[test]
    fn balanced_books_reconcile() {
        let (books, answers, initial) = balanced();
        let (report, disagreements) = reconcile(&books, &answers, &initial, 0);
        assert_eq!((report.lost, report.duplicated, report.phantom), (0, 0, 0));
        assert_eq!((report.orders_placed, report.orders_refused), (3, 1));
        assert!(disagreements.is_empty(), "{disagreements:?}");
    }

    #[test]
    fn every_kind_of_error_shows() {
        let (mut books, answers, initial) = balanced();
        books.deductions.remove(0);
        books.credits.push(("b".to_owned(), 10));
        books.credits.push(("x".to_owned(), 10));
        let (report, _) = reconcile(&books, &answers, &initial, 0);
        assert_eq!((report.lost, report.duplicated, report.phantom), (1, 1, 1));

        let (mut books, mut answers, initial) = balanced();
        answers.insert("x".to_owned(), Status::Committed);
        books.in_stock.insert("s".to_owned(), 8);
        books.accounts.insert("d".to_owned(), 1);
        let (_, disagreements) = reconcile(&books, &answers, &initial, 1);
        assert_eq!(disagreements.len(), 4, "{disagreements:?}");
    }
}
