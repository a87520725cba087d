//! The databases of a run, made and filled before anything starts.

use std::{collections::BTreeMap, path::Path, str::FromStr as _};

use anyhow::Context as _;
use sqlx::{
    AssertSqlSafe, Connection as _, PgConnection, Pool, Postgres, Sqlite,
    postgres::PgConnectOptions,
};

use crate::{
    args::{Kind, RunArgs, ServiceName},
    database::{ShopDatabase, Value, is_sqlite},
    postgres::PrivatePostgres,
};

/// What a service's database has in the beginning.
pub(crate) struct Contents {
    pub(crate) service: ServiceName,
    pub(crate) tables: &'static [&'static str],
    /// A statement with a name and an amount, and what it is run with.
    pub(crate) rows: Option<(&'static str, BTreeMap<String, i64>)>,
}

/// Where each service keeps its data.
pub(crate) struct Databases {
    urls: Vec<(ServiceName, String)>,
    /// The server to remove them from again.
    server: Option<String>,
    /// Stops when it is dropped.
    private: Option<PrivatePostgres>,
}

impl Databases {
    /// Makes the databases with their tables and fills them.
    pub(crate) async fn create(
        args: &RunArgs,
        directory: &Path,
        contents: &[Contents],
    ) -> anyhow::Result<Self> {
        let names: Vec<ServiceName> = contents.iter().map(|c| c.service).collect();
        let databases = match args.database {
            Kind::Sqlite => Self::in_directory(directory, &names),
            Kind::Postgres => {
                Self::on_server(args.postgres_url.as_deref(), directory, &names).await?
            }
        };
        for contents in contents {
            let url = databases.url(contents.service);
            if is_sqlite(url) {
                fill::<Sqlite>(url, contents).await?;
            } else {
                fill::<Postgres>(url, contents).await?;
            }
        }
        Ok(databases)
    }

    /// Of one of the services that there are.
    pub(crate) fn url(&self, service: ServiceName) -> &str {
        let mut urls = self.urls.iter();
        let found = urls.find(|(name, _)| *name == service);
        found.map_or("", |(_, url)| url)
    }

    fn in_directory(directory: &Path, names: &[ServiceName]) -> Self {
        let url = |name: &ServiceName| {
            let file = format!("{}.db", name.as_str());
            (*name, format!("sqlite://{}/{file}", directory.display()))
        };
        Self {
            urls: names.iter().map(url).collect(),
            server: None,
            private: None,
        }
    }

    async fn on_server(
        url: Option<&str>,
        directory: &Path,
        names: &[ServiceName],
    ) -> anyhow::Result<Self> {
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
        for name in names {
            let database = format!("shop_{run}_{}", name.as_str());
            let create = format!("CREATE DATABASE {database}");
            sqlx::raw_sql(AssertSqlSafe(create))
                .execute(&mut connection)
                .await?;
            urls.push((*name, with_database(&server, &database)?));
        }
        connection.close().await?;
        Ok(Self {
            urls,
            server: Some(server),
            private,
        })
    }

    /// Removes what was made on somebody's server. A private one goes away as a whole, and
    /// so do files in the run's directory.
    pub(crate) async fn remove(self, keep: bool) -> anyhow::Result<()> {
        if let (Some(server), None, false) = (&self.server, &self.private, keep) {
            let mut connection = PgConnection::connect(server).await?;
            for (_, url) in &self.urls {
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

async fn fill<DB: ShopDatabase>(url: &str, contents: &Contents) -> anyhow::Result<()> {
    let pool = create_tables::<DB>(url, contents.tables).await?;
    if let Some((sql, amounts)) = &contents.rows {
        put::<DB>(&pool, sql, amounts).await?;
    }
    pool.close().await;
    Ok(())
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
