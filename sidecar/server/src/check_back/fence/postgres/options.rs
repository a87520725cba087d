use std::{fmt::Write as _, time::Duration};

use tokio_postgres::config::{Config, Host, TargetSessionAttrs};

use super::super::UrlError;

const KEEPALIVE_IDLE_S: u64 = 30;

/// How to check against one PostgreSQL database.
#[derive(Clone, Debug)]
pub struct PostgresOptions {
    /// How to connect; always to a server that accepts writes.
    pub(super) config: Config,
    /// `host:port/name`, for messages; without the password.
    pub(super) database: String,
    /// Pipelined connections. Default 4: several commits then share one flush of the
    /// database's log.
    pub quick_connections_max: usize,
    /// How long a check waits on a pipelined connection for the lock on its row. Default 5.
    pub quick_lock_timeout_ms: u64,
    /// Connections for the rows found locked, one check at a time each. Default 2.
    pub patient_connections_max: usize,
    /// How long a check waits there for the lock on its row. Default 200.
    pub lock_timeout_ms: u64,
    /// How long the database works on one statement. Default 2,000.
    pub statement_timeout_ms: u64,
    /// How long connecting may take. Default 3,000.
    pub connect_timeout_ms: u64,
    /// After a failed attempt to connect, everybody gets its error for so long. Default 250.
    pub reconnect_pause_ms: u64,
    /// How long a check waits for its answer, the ones before it in the pipeline included.
    /// Default 10,000.
    pub answer_timeout_ms: u64,
    /// Checks under way at once; further ones wait. Default 1,024.
    pub in_flight_checks_max: usize,
}

impl PostgresOptions {
    /// The defaults for a URL. It may set whatever tokio-postgres knows, such as several
    /// hosts, or `options=-c search_path=…` for a fence table in another schema.
    pub fn new(url: &str) -> Result<Self, UrlError> {
        let mut config: Config = url.parse().map_err(|error: tokio_postgres::Error| {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            UrlError::Invalid {
                kind: "PostgreSQL",
                message: cause.unwrap_or_else(|| error.to_string()),
            }
        })?;
        if config.get_application_name().is_none() {
            config.application_name("outrigger check-back");
        }
        config
            .target_session_attrs(TargetSessionAttrs::ReadWrite)
            .keepalives_idle(Duration::from_secs(KEEPALIVE_IDLE_S));
        Ok(Self {
            database: label(&config),
            config,
            quick_connections_max: 4,
            quick_lock_timeout_ms: 5,
            patient_connections_max: 2,
            lock_timeout_ms: 200,
            statement_timeout_ms: 2_000,
            connect_timeout_ms: 3_000,
            reconnect_pause_ms: 250,
            answer_timeout_ms: 10_000,
            in_flight_checks_max: 1_024,
        })
    }
}

fn label(config: &Config) -> String {
    const PORT_DEFAULT: u16 = 5432;
    let ports = config.get_ports();
    let mut label = String::new();
    for (index, host) in config.get_hosts().iter().enumerate() {
        let separator = if index == 0 { "" } else { "," };
        let port = ports.get(index).or_else(|| ports.first());
        let port = port.copied().unwrap_or(PORT_DEFAULT);
        // Writing into a String does not fail.
        let _ = match host {
            Host::Tcp(name) => write!(label, "{separator}{name}:{port}"),
            Host::Unix(path) => write!(label, "{separator}{}:{port}", path.display()),
        };
    }
    let name = config.get_dbname().or_else(|| config.get_user());
    let _ = write!(label, "/{}", name.unwrap_or_default());
    label
}
