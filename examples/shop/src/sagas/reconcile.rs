//! Compares what the services have in their databases with each other, with what the customers
//! were told, and with how the sagas ended.

use std::collections::{BTreeMap, BTreeSet};

use outrigger_sdk::saga;
use serde::Serialize;

use super::{
    Basket,
    books::{Book, Books, Movement},
};
use crate::{args::Mode, services::order::Status};

/// The result of a run; with `--json` this is what is printed.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub(super) struct Report {
    pub(super) mode: &'static str,
    pub(super) orders_placed: usize,
    pub(super) orders_committed: usize,
    pub(super) orders_refused: usize,
    pub(super) sagas_completed: usize,
    pub(super) sagas_undone: usize,
    /// Sagas that wait for a person.
    pub(super) sagas_parked: usize,
    /// Sagas that are still under way.
    pub(super) sagas_unfinished: usize,
    /// Effects that were taken back because another service refused.
    pub(super) effects_undone: usize,
    /// Effects that a committed order should have had, and has not.
    pub(super) lost: usize,
    /// Effects that happened again.
    pub(super) duplicated: usize,
    /// Effects that stayed without a committed order.
    pub(super) phantom: usize,
    /// Orders both done and undone at one service.
    pub(super) torn: usize,
    pub(super) kills: u64,
    pub(super) seconds: f64,
}

impl Report {
    /// Whether what is counted is as it has to be.
    pub(super) fn is_good(&self) -> bool {
        let errors = [
            self.lost,
            self.duplicated,
            self.phantom,
            self.torn,
            self.sagas_parked,
            self.sagas_unfinished,
        ];
        errors.iter().all(|count| *count == 0)
            && self.orders_committed + self.orders_refused == self.orders_placed
    }
}

/// What a run began with and what it was told.
pub(super) struct Known<'a> {
    pub(super) mode: Mode,
    pub(super) baskets: &'a [Basket],
    pub(super) answers: &'a BTreeMap<String, Status>,
    /// How every saga is at the end.
    pub(super) sagas: &'a BTreeMap<String, saga::Status>,
    pub(super) stock: &'a BTreeMap<String, i64>,
    pub(super) points: &'a BTreeMap<String, i64>,
    pub(super) payments: &'a BTreeMap<String, i64>,
}

/// Compares; returns the report and every disagreement that its counts do not show.
pub(super) fn reconcile(books: &Books, known: &Known<'_>) -> (Report, Vec<String>) {
    let mut disagreements = Vec::new();
    let committed = committed(books, &mut disagreements);
    let with = |status| known.sagas.values().filter(|s| **s == status).count();
    let answered = |status| known.answers.values().filter(|s| **s == status).count();
    let (completed, undone) = (with(saga::Status::Completed), with(saga::Status::Undone));
    let parked = with(saga::Status::Parked);
    let mut report = Report {
        mode: known.mode.as_str(),
        orders_placed: known.baskets.len(),
        orders_committed: committed.len(),
        orders_refused: answered(Status::Refused),
        sagas_completed: completed,
        sagas_undone: undone,
        sagas_parked: parked,
        sagas_unfinished: known
            .baskets
            .len()
            .saturating_sub(completed + undone + parked),
        ..Report::default()
    };
    for (order, status) in known.answers {
        let is_there = committed.contains(order.as_str());
        if is_there != (*status == Status::Committed) {
            disagreements.push(format!(
                "{order} was answered {status:?}, and that it is confirmed is {is_there}"
            ));
        }
        let ended = known.sagas.get(order);
        if is_there != (ended == Some(&saga::Status::Completed)) {
            disagreements.push(format!(
                "the saga of {order} is {ended:?}, and that the order is confirmed is {is_there}"
            ));
        }
    }
    let effects = Effects {
        mode: known.mode,
        committed: &committed,
    };
    effects.count(&books.order_movements, &mut report);
    let wanted_stock: Wanted = |basket| (&basket.sku, basket.quantity);
    let wanted_points: Wanted = |basket| (&basket.customer, basket.points);
    let wanted_cents: Wanted = |basket| (&basket.customer, basket.cents);
    for (name, book, initial, wanted) in [
        ("stock", &books.stock, known.stock, wanted_stock),
        ("points", &books.points, known.points, wanted_points),
        ("payments", &books.payments, known.payments, wanted_cents),
    ] {
        effects.count(&book.movements, &mut report);
        let bought = known.baskets.iter();
        let bought = bought.filter(|basket| committed.contains(basket.order_id.as_str()));
        let mut taken: BTreeMap<&str, i64> = BTreeMap::new();
        for (account, amount) in bought.map(wanted) {
            *taken.entry(account).or_default() += amount;
        }
        compare(name, book, initial, &taken, &mut disagreements);
    }
    (report, disagreements)
}

type Wanted = fn(&Basket) -> (&str, i64);

/// The orders that are confirmed; one that is in the books twice is said.
fn committed<'b>(books: &'b Books, disagreements: &mut Vec<String>) -> BTreeSet<&'b str> {
    let mut seen = BTreeSet::new();
    for (order, status) in &books.orders {
        if !seen.insert(order) {
            disagreements.push(format!("{order} is written down more than once"));
        }
        if status == "pending" {
            disagreements.push(format!("{order} is neither confirmed nor cancelled"));
        }
    }
    let confirmed = books.orders.iter().filter(|(_, s)| s == "confirmed");
    confirmed.map(|(order, _)| order.as_str()).collect()
}

/// To the unit: what is left of what there was, and that nothing is held back.
fn compare(
    name: &str,
    book: &Book,
    initial: &BTreeMap<String, i64>,
    taken: &BTreeMap<&str, i64>,
    disagreements: &mut Vec<String>,
) {
    for (account, had) in initial {
        let left = book.available.get(account).copied().unwrap_or(0);
        let held = book.held.get(account).copied().unwrap_or(0);
        let taken = taken.get(account.as_str()).copied().unwrap_or(0);
        if left != had - taken || held != 0 {
            disagreements.push(format!(
                "{name} of {account}: {left} left of {had} and {held} held, but {taken} were taken"
            ));
        }
    }
}

struct Effects<'a> {
    mode: Mode,
    committed: &'a BTreeSet<&'a str>,
}

#[derive(Default)]
struct Phases {
    first: usize,
    confirm: usize,
    undo: usize,
}

impl Effects<'_> {
    /// What one service has done for each order.
    fn count(&self, movements: &[Movement], report: &mut Report) {
        let mut orders: BTreeMap<&str, Phases> = BTreeMap::new();
        for movement in movements {
            let phases = orders.entry(&movement.order).or_default();
            match movement.phase.as_str() {
                "confirm" => phases.confirm += 1,
                "undo" | "cancel" => phases.undo += 1,
                _ => phases.first += 1,
            }
        }
        for (order, phases) in &orders {
            let again = |count: usize| count.saturating_sub(1);
            report.duplicated += again(phases.first) + again(phases.confirm) + again(phases.undo);
            report.effects_undone += phases.undo.min(1);
            let committed = self.committed.contains(order);
            let confirmed = self.mode != Mode::Tcc || phases.confirm > 0;
            match (committed, phases.undo > 0) {
                (true, true) => report.torn += 1,
                (true, false) if phases.first == 0 || !confirmed => report.lost += 1,
                (true, false) => {}
                (false, true) if phases.confirm > 0 => report.torn += 1,
                (false, true) if phases.first == 0 => report.phantom += 1,
                (false, true) => {}
                (false, false) => report.phantom += 1,
            }
        }
        let missing = self.committed.iter().filter(|o| !orders.contains_key(*o));
        report.lost += missing.count();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sagas::Card;

    fn basket(order: &str) -> Basket {
        Basket {
            order_id: order.to_owned(),
            customer: "c".to_owned(),
            sku: "s".to_owned(),
            quantity: 2,
            cents: 500,
            points: 1,
            card: Card::Good,
        }
    }

    fn movement(order: &str, phase: &str) -> Movement {
        Movement {
            order: order.to_owned(),
            phase: phase.to_owned(),
            account: "s".to_owned(),
            amount: 2,
        }
    }

    fn book(name: &str, left: i64) -> Book {
        let phases = [
            ("a", "try"),
            ("a", "confirm"),
            ("x", "try"),
            ("x", "cancel"),
        ];
        Book {
            available: [(name.to_owned(), left)].into(),
            held: [(name.to_owned(), 0)].into(),
            movements: phases.map(|(order, phase)| movement(order, phase)).into(),
        }
    }

    fn balanced() -> Books {
        Books {
            orders: vec![
                ("a".to_owned(), "confirmed".to_owned()),
                ("x".to_owned(), "cancelled".to_owned()),
            ],
            order_movements: book("", 0).movements,
            stock: book("s", 8),
            points: book("c", 9),
            payments: book("c", 500),
        }
    }

    fn judge(books: &Books, undone: saga::Status) -> (Report, Vec<String>) {
        let baskets = [basket("a"), basket("x")];
        let answers = [
            ("a".to_owned(), Status::Committed),
            ("x".to_owned(), Status::Refused),
        ];
        let sagas = [
            ("a".to_owned(), saga::Status::Completed),
            ("x".to_owned(), undone),
        ];
        let known = Known {
            mode: Mode::Tcc,
            baskets: &baskets,
            answers: &answers.into(),
            sagas: &sagas.into(),
            stock: &[("s".to_owned(), 10)].into(),
            points: &[("c".to_owned(), 10)].into(),
            payments: &[("c".to_owned(), 1_000)].into(),
        };
        reconcile(books, &known)
    }

    #[test]
    fn balanced_books_reconcile() {
        let (report, disagreements) = judge(&balanced(), saga::Status::Undone);
        assert!(report.is_good(), "{report:?}");
        assert!(disagreements.is_empty(), "{disagreements:?}");
        assert_eq!((report.orders_committed, report.orders_refused), (1, 1));
        assert_eq!(report.effects_undone, 4);
    }

    #[test]
    fn every_kind_of_error_shows() {
        type Break = fn(&mut Books);
        type Count = fn(&Report) -> usize;
        let counted: [(Break, Count); 7] = [
            (|b| drop(b.stock.movements.remove(1)), |r| r.lost),
            (|b| b.points.movements.clear(), |r| r.lost),
            (
                |b| b.stock.movements.push(movement("a", "try")),
                |r| r.duplicated,
            ),
            (
                |b| b.payments.movements.push(movement("x", "cancel")),
                |r| r.duplicated,
            ),
            (|b| drop(b.payments.movements.remove(3)), |r| r.phantom),
            (
                |b| b.payments.movements.push(movement("y", "try")),
                |r| r.phantom,
            ),
            (
                |b| b.stock.movements.push(movement("a", "cancel")),
                |r| r.torn,
            ),
        ];
        for (case, (break_it, count)) in counted.into_iter().enumerate() {
            let mut books = balanced();
            break_it(&mut books);
            let (report, _) = judge(&books, saga::Status::Undone);
            assert_eq!(count(&report), 1, "case {case}: {report:?}");
            assert!(!report.is_good());
        }
        let said: [Break; 5] = [
            |b| *b.stock.available.get_mut("s").unwrap() += 1,
            |b| *b.points.held.get_mut("c").unwrap() += 1,
            |b| b.orders.push(("x".to_owned(), "cancelled".to_owned())),
            |b| b.orders[1].1 = "pending".to_owned(),
            |b| b.orders[0].1 = "cancelled".to_owned(),
        ];
        for (case, break_it) in said.into_iter().enumerate() {
            let mut books = balanced();
            break_it(&mut books);
            let (_, disagreements) = judge(&books, saga::Status::Undone);
            assert!(!disagreements.is_empty(), "case {case}");
        }
        for status in [saga::Status::Parked, saga::Status::Running] {
            assert!(!judge(&balanced(), status).0.is_good());
        }
    }
}
