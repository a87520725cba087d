use clap::Args;
use sqlx::{ConnectOptions as _, Connection as _};

use crate::config::{DatabaseKind, DatabaseUrl};

/// Arguments of `outrigger migrate`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// As in postgres://user@host/database or sqlite:///path/to/file.db
    #[arg(long, value_name = "URL")]
    database: DatabaseUrl,
}

#[expect(clippy::print_stdout, reason = "a command line answers its user")]
pub(super) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let database = arguments.database;
    match database.kind() {
        DatabaseKind::Postgres => {
            let mut connection = sqlx::PgConnection::connect(database.expose()).await?;
            outrigger_sdk::migrations::postgres()
                .run(&mut connection)
                .await?;
        }
        DatabaseKind::Sqlite => {
            let options: sqlx::sqlite::SqliteConnectOptions = database.expose().parse()?;
            let mut connection = options.create_if_missing(true).connect().await?;
            outrigger_sdk::migrations::sqlite()
                .run(&mut connection)
                .await?;
        }
    }
    println!("{database}: the tables of Outrigger are up to date");
    Ok(())
}
