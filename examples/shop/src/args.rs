use std::{net::SocketAddr, path::PathBuf};

use clap::{Parser, Subcommand, ValueEnum};

/// Places orders in a shop of three services, and checks that none is lost or counted twice.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) role: Option<Role>,
    #[command(flatten)]
    pub(crate) run: RunArgs,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct RunArgs {
    /// What binds the services together.
    #[arg(long, value_enum, default_value_t = Mode::Messages)]
    pub(crate) mode: Mode,
    /// How many orders to place. With --input, at most so many of its lines.
    #[arg(long)]
    pub(crate) orders: Option<usize>,
    /// How many customers order at the same time.
    #[arg(long, default_value_t = 64)]
    pub(crate) concurrency: usize,
    /// Decides the generated orders and the moments of chaos.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Print one JSON object instead of text.
    #[arg(long)]
    pub(crate) json: bool,
    /// What the services keep their data in.
    #[arg(long, value_enum, default_value_t = Kind::Sqlite)]
    pub(crate) database: Kind,
    /// A PostgreSQL server to make the databases in; without it a private one is started.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub(crate) postgres_url: Option<String>,
    /// Leave the databases, the log and the processes' output for a look.
    #[arg(long)]
    pub(crate) keep: bool,
    /// Kill the processes at random moments drawn from the seed.
    #[arg(long)]
    pub(crate) chaos: bool,
    /// Keep the log on so many nodes, with a sidecar for each service; without it there is
    /// one sidecar with a log of its own.
    #[arg(long, value_name = "NODES", value_parser = clap::value_parser!(u8).range(1..=9))]
    pub(crate) cluster: Option<u8>,
    /// How many data groups the log has, each with a leader of its own.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) groups: u32,
    /// Read the orders from a CSV file with the columns order_id, customer, sku, quantity,
    /// price.
    #[arg(long)]
    pub(crate) input: Option<PathBuf>,
    /// The sidecar's program; otherwise it is built, or taken from beside this one.
    #[arg(long, hide = true)]
    pub(crate) outrigger: Option<PathBuf>,
}

/// What binds the services of the shop together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// Half-messages: whatever a sale means for others happens later
    Messages,
    /// A saga: all services do their part, or what was done is undone
    Saga,
    /// TCC: all services reserve their part; then all confirm it, or all cancel it
    Tcc,
}

impl Mode {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Messages => "messages",
            Self::Saga => "saga",
            Self::Tcc => "tcc",
        }
    }

    /// The services that there are, in the order of [`ServiceName`].
    pub(crate) fn services(self) -> &'static [ServiceName] {
        use ServiceName::{Order, Payments, Points, Stock};
        match self {
            Self::Messages => &[Order, Stock, Points],
            Self::Saga | Self::Tcc => &[Order, Stock, Points, Payments],
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    Sqlite,
    Postgres,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Role {
    /// Runs one of the services; the shop starts them itself.
    #[command(hide = true)]
    Service(ServiceArgs),
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ServiceArgs {
    #[arg(value_enum)]
    pub(crate) name: ServiceName,
    #[arg(long, value_enum, default_value_t = Mode::Messages)]
    pub(crate) mode: Mode,
    /// Where it serves HTTP.
    #[arg(long)]
    pub(crate) listen: SocketAddr,
    /// Its own database.
    #[arg(long)]
    pub(crate) database: String,
    /// The sidecar.
    #[arg(long)]
    pub(crate) sidecar: String,
    /// Of a saga: where all services serve HTTP, in the order of their names here.
    #[arg(long, value_delimiter = ',')]
    pub(crate) participants: Vec<SocketAddr>,
    /// Dies as by `kill -9` at the so-many-th time that it comes to its worst moment.
    #[arg(long)]
    pub(crate) crash_at: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ServiceName {
    Order,
    Stock,
    Points,
    Payments,
}

impl ServiceName {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Order => "order",
            Self::Stock => "stock",
            Self::Points => "points",
            Self::Payments => "payments",
        }
    }
}
