use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    str::FromStr,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::Error;

/// An address to listen on, as in `127.0.0.1:7070`. Port 0 takes any free port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address(SocketAddr);

impl Address {
    /// A port on 127.0.0.1.
    pub fn loopback(port: u16) -> Self {
        Self(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port))
    }

    /// The socket address to bind.
    pub fn socket(self) -> SocketAddr {
        self.0
    }

    /// The sidecar shares the network namespace of its application, so nobody else has to
    /// reach it; without TLS and tokens nobody else may.
    pub(super) fn check_loopback(self, key: &str) -> Result<(), Error> {
        if self.0.ip().is_loopback() {
            return Ok(());
        }
        Err(Error::value(
            key,
            self,
            "a loopback address, as in 127.0.0.1:7070 or [::1]:7070",
        ))
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.strip_prefix("localhost:").map_or_else(
            || text.to_owned(),
            |port| format!("{}:{port}", Ipv4Addr::LOCALHOST),
        );
        text.parse()
            .map(Self)
            .map_err(|_| format!("\"{text}\" is not an address with a port, as in 127.0.0.1:7070"))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}
