use redis::{Client, ConnectionAddr};

use super::super::Error;

/// Which Redis holds the guards.
#[derive(Clone, Debug)]
pub struct RedisOptions {
    pub(super) client: Client,
    /// The address, for messages; without the password.
    pub(super) server: String,
    /// What every key begins with. Default `outrigger:`.
    pub key_prefix: String,
    /// How long one call may take, connecting included. Default 1,000.
    pub timeout_ms: u64,
    /// Calls under way at once; further ones wait. Default 1,024.
    pub in_flight_calls_max: usize,
}

impl RedisOptions {
    /// The defaults for a URL such as `redis://127.0.0.1:6379/0`.
    ///
    /// # Errors
    ///
    /// When the URL is not usable; TLS is not supported yet.
    pub fn new(url: &str) -> Result<Self, Error> {
        let client = Client::open(url).map_err(|error| Error::Url {
            message: error.to_string(),
        })?;
        let server = match client.get_connection_info().addr() {
            ConnectionAddr::Tcp(host, port) => format!("{host}:{port}"),
            ConnectionAddr::Unix(path) => path.display().to_string(),
            other => other.to_string(),
        };
        Ok(Self {
            client,
            server,
            key_prefix: "outrigger:".to_owned(),
            timeout_ms: 1_000,
            in_flight_calls_max: 1_024,
        })
    }
}
