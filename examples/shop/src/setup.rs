//! The databases of a run, made and filled before anything starts.

use std::{collections::BTreeMap, path::Path, str::FromStr as _};

use anyhow::Context as _;
use sqlx::{
    AssertSqlSafe, Connection as _, PgConnection, Pool, Postgres, Sqlite,
    postgres::PgConnectOptions,
};

use crate::{
    args::{Kind, RunArgs},
    database::{ShopDatabase, Value, is_sqlite},
    postgres::PrivatePostgres,
    services::{effects, order},
};

/// Where each service keeps its data.
pub(crate) struct Databases {
    pub(crate) orders: String,
    pub(crate) stock: String,
    pub(crate) points: String,
    /// The server to remove them from again.
    server: Option<String>,
    /// Stops when it is dropped.
    private: Option<PrivatePostgres>,
}

impl Databases {
    /// Makes three databases with their tables, and fills the shelves.
    pub(crate) async fn create(
        args: &RunArgs,
        directory: &Path,
        initial_stock: &BTreeMap<String, i64>,
    ) -> anyhow::Result<Self> {
        let databases = match args.database {
            Kind::Sqlite => Self::in_directory(directory),
            Kind::Postgres => Self::on_server(args.postgres_url.as_deref(), directory).await?,
        };
        if is_sqlite(&databases.orders) {
            databases.fill::<Sqlite>(initial_stock).await?;
        } else {
            databases.fill::<Postgres>(initial_stock).await?;
        }
        Ok(databases)
    }

    fn in_directory(directory: &Path) -> Self {
        let url = |name: &str| format!("sqlite://{}/{name}.db", directory.display());
        Self {
            orders: url("orders"),
            stock: url("stock"),
            points: url("points"),
            server: None,
            private: None,
        }
    }

    async fn on_server(url: Option<&str>, directory: &Path) -> anyhow::Result<Self> {
        let private = match url {
            Some(_) => None,
            None => Some(PrivatePostgres::start(directory).await?),
        };
        let server = match (&private, url) {
            (Some(private), _) => private.url(),
            (None, Some(url)) => url.to_owned(),
            (None, None) => anyhow::bail!("there is no PostgreSQL server"),
        };
        let options = PgConnectOptions::from_str(&server).context("the PostgreSQL URL")?;
        let mut connection = PgConnection::connect_with(&options)
            .await
            .with_context(|| format!("cannot connect to {server}"))?;
        let run = std::process::id();
        let mut urls = Vec::new();
        for name in ["orders", "stock", "points"] {
            let name = format!("shop_{run}_{name}");
            let create = format!("CREATE DATABASE {name}");
            sqlx::raw_sql(AssertSqlSafe(create))
                .execute(&mut connection)
                .await?;
            urls.push(with_database(&server, &name)?);
        }
        connection.close().await?;
        let [orders, stock, points] = urls
            .try_into()
            .map_err(|_| anyhow::anyhow!("three databases were made"))?;
        Ok(Self {
            orders,
            stock,
            points,
            server: Some(server),
            private,
        })
    }

    async fn fill<DB: ShopDatabase>(
        &self,
        initial_stock: &BTreeMap<String, i64>,
    ) -> anyhow::Result<()> {
        let orders = create_tables::<DB>(&self.orders, &order::TABLES).await?;
        put::<DB>(&orders, order::PUT_ON_SHELF, initial_stock).await?;
        orders.close().await;
        let stock = create_tables::<DB>(&self.stock, &effects::STOCK_TABLES).await?;
        put::<DB>(&stock, effects::PUT_IN_STOCK, initial_stock).await?;
        stock.close().await;
        let points = create_tables::<DB>(&self.points, &effects::POINTS_TABLES).await?;
        points.close().await;
        Ok(())
    }

    /// Removes what was made on somebody's server. A private one goes away as a whole, and
    /// so do files in the run's directory.
    pub(crate) async fn remove(self, keep: bool) -> anyhow::Result<()> {
        if let (Some(server), None, false) = (&self.server, &self.private, keep) {
            let mut connection = PgConnection::connect(server).await?;
            for url in [&self.orders, &self.stock, &self.points] {
                let options = PgConnectOptions::from_str(url)?;
                let name = options.get_database().unwrap_or_default();
                let drop = format!("DROP DATABASE {name} WITH (FORCE)");
                sqlx::raw_sql(AssertSqlSafe(drop))
                    .execute(&mut connection)
                    .await?;
            }
        }
        if let Some(private) = self.private {
            private.stop().await?;
        }
        Ok(())
    }
}

/// The same server and user, another database.
fn with_database(url: &str, database: &str) -> anyhow::Result<String> {
    let (base, options) = match url.split_once('?') {
        Some((base, options)) => (base, format!("?{options}")),
        None => (url, String::new()),
    };
    let (server, _) = base
        .rsplit_once('/')
        .filter(|(server, _)| !server.ends_with('/'))
        .context("the PostgreSQL URL names no database")?;
    Ok(format!("{server}/{database}{options}"))
}

async fn create_tables<DB: ShopDatabase>(
    url: &str,
    tables: &[&'static str],
) -> anyhow::Result<Pool<DB>> {
    let pool = DB::connect(url)
        .await
        .with_context(|| format!("cannot open {url}"))?;
    DB::migrate(&pool).await?;
    let mut connection = pool.acquire().await?;
    for table in tables {
        DB::execute(&mut connection, table, &[]).await?;
    }
    drop(connection);
    Ok(pool)
}

async fn put<DB: ShopDatabase>(
    pool: &Pool<DB>,
    sql: &'static str,
    amounts: &BTreeMap<String, i64>,
) -> anyhow::Result<()> {
    let mut transaction = pool.begin().await?;
    for (sku, amount) in amounts {
        let row = [Value::Text(sku), Value::Number(*amount)];
        DB::execute(&mut transaction, sql, &row).await?;
    }
    transaction.commit().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_database_of_a_url_is_replaced() {
        let url = "postgres://me:pw@host:5432/main?sslmode=disable";
        assert_eq!(
            with_database(url, "shop").unwrap(),
            "postgres://me:pw@host:5432/shop?sslmode=disable"
        );
        assert!(with_database("postgres://host", "shop").is_err());
    }
}
