use std::collections::BTreeMap;

use sqlx::Pool;

use crate::{args::ServiceName, database::ShopDatabase, setup::Databases};

const AVAILABLE: &str = "SELECT name, available FROM account";
const HELD: &str = "SELECT name, held FROM account";
const MOVEMENTS: &str = "SELECT order_id || '/' || phase || '/' || name, amount FROM movement";
const ORDERS: &str = "SELECT id || '/' || status, cents FROM orders";

/// What one participant has in its database.
#[derive(Debug, Clone, Default)]
pub(super) struct Book {
    /// By account: what is there, and what is held back.
    pub(super) available: BTreeMap<String, i64>,
    pub(super) held: BTreeMap<String, i64>,
    pub(super) movements: Vec<Movement>,
}

/// One change for an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Movement {
    pub(super) order: String,
    pub(super) phase: String,
    pub(super) account: String,
    pub(super) amount: i64,
}

/// Everything that is compared.
#[derive(Debug, Clone, Default)]
pub(super) struct Books {
    /// Rows of the order service: order and status. An order should be there once at most.
    pub(super) orders: Vec<(String, String)>,
    pub(super) order_movements: Vec<Movement>,
    pub(super) stock: Book,
    pub(super) points: Book,
    pub(super) payments: Book,
}

impl Books {
    pub(super) async fn read<DB: ShopDatabase>(databases: &Databases) -> anyhow::Result<Self> {
        let orders = DB::connect(databases.url(ServiceName::Order)).await?;
        let rows = DB::pairs(&orders, ORDERS).await?;
        let rows = rows.into_iter().filter_map(|(text, _)| {
            let (order, status) = text.rsplit_once('/')?;
            Some((order.to_owned(), status.to_owned()))
        });
        let books = Self {
            orders: rows.collect(),
            order_movements: movements::<DB>(&orders).await?,
            stock: book::<DB>(databases.url(ServiceName::Stock)).await?,
            points: book::<DB>(databases.url(ServiceName::Points)).await?,
            payments: book::<DB>(databases.url(ServiceName::Payments)).await?,
        };
        orders.close().await;
        Ok(books)
    }
}

async fn book<DB: ShopDatabase>(url: &str) -> anyhow::Result<Book> {
    let pool = DB::connect(url).await?;
    let book = Book {
        available: DB::pairs(&pool, AVAILABLE).await?.into_iter().collect(),
        held: DB::pairs(&pool, HELD).await?.into_iter().collect(),
        movements: movements::<DB>(&pool).await?,
    };
    pool.close().await;
    Ok(book)
}

async fn movements<DB: ShopDatabase>(pool: &Pool<DB>) -> anyhow::Result<Vec<Movement>> {
    let rows = DB::pairs(pool, MOVEMENTS).await?;
    let movement = |(text, amount): (String, i64)| {
        // The id of an order is that of its saga, which has no slash.
        let mut parts = text.splitn(3, '/').map(ToOwned::to_owned);
        Some(Movement {
            order: parts.next()?,
            phase: parts.next()?,
            account: parts.next()?,
            amount,
        })
    };
    Ok(rows.into_iter().filter_map(movement).collect())
}
