use std::{collections::BTreeMap, fmt, net::Ipv4Addr, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{Address, Error};

/// Nodes of one cluster, at most. More voters make every write wait for more disks and
/// protect from nothing that five do not.
const PEERS_COUNT_MAX: usize = 9;
/// A node's number, at most: numbers have to survive JSON.
const NODE_ID_MAX: u64 = (1 << 53) - 1;

/// What `outrigger node` needs beyond the other settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClusterConfig {
    /// Which node this is, from 1. 0 means that there is no cluster.
    pub id: u64,
    /// The nodes of the cluster when it is formed, this one usually among them, as in
    /// `1=127.0.0.1:7071,2=127.0.0.1:7171`.
    pub peers: Peers,
    /// Where other nodes connect. Loopback only. Not set: this node's address in `peers`, or
    /// 127.0.0.1:7071.
    pub peer_listen: Option<Address>,
    /// Where other nodes reach this one, when something stands between. Not set: this node's
    /// address in `peers`, or `peer_listen`.
    pub peer_advertise: Option<HostPort>,
    /// Where applications and other nodes reach this one's gRPC port, when something stands
    /// between. Not set: `listen`.
    pub advertise: Option<HostPort>,
}

impl ClusterConfig {
    /// True when nothing of it is set.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Where the peer port is to be opened.
    pub fn peer_listen(&self) -> Address {
        let own = || self.peers.0.get(&self.id)?.to_string().parse().ok();
        let port = || Address::loopback(7071);
        self.peer_listen.or_else(own).unwrap_or_else(port)
    }

    /// Checks what a node needs.
    pub(super) fn check(&self) -> Result<(), Error> {
        check_id("cluster.id", self.id)?;
        if self.peers.0.is_empty() {
            let limit = "the nodes of the cluster, as in 1=127.0.0.1:7071,2=127.0.0.1:7171";
            return Err(Error::value("cluster.peers", "not set", limit));
        }
        self.peer_listen().check_loopback("cluster.peer_listen")
    }
}

fn check_id(key: &str, id: u64) -> Result<(), Error> {
    if (1..=NODE_ID_MAX).contains(&id) {
        return Ok(());
    }
    Err(Error::value(key, id, format!("1 to {NODE_ID_MAX}")))
}

/// A host and a port that others connect to, as in `node-1.example:7071`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostPort {
    host: String,
    port: u16,
}

impl FromStr for HostPort {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = |what: &str| {
            format!(
                "\"{text}\" {what}; allowed: a host and a port from 1 to 65535, as in 127.0.0.1:7071"
            )
        };
        let (host, port) = text.rsplit_once(':').ok_or_else(|| wrong("has no port"))?;
        let illegal = |c: char| !(c.is_ascii_alphanumeric() || "-._[]:".contains(c));
        if host.is_empty() || host.contains(illegal) {
            return Err(wrong("has no legal host"));
        }
        let port = port.parse().ok().filter(|port| *port > 0);
        let host = match host {
            "localhost" => Ipv4Addr::LOCALHOST.to_string(),
            host => host.to_owned(),
        };
        let port = port.ok_or_else(|| wrong("has no legal port"))?;
        Ok(Self { host, port })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.host, self.port)
    }
}

/// Node numbers and peer addresses, as in `1=127.0.0.1:7071,2=127.0.0.1:7171`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peers(BTreeMap<u64, HostPort>);

impl Peers {
    /// All of them, in the order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &HostPort)> {
        self.0.iter().map(|(id, address)| (*id, address))
    }

    /// The address of one.
    pub fn get(&self, id: u64) -> Option<&HostPort> {
        self.0.get(&id)
    }

    /// The lowest number.
    pub fn lowest(&self) -> Option<u64> {
        self.0.keys().next().copied()
    }
}

impl FromStr for Peers {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut peers = BTreeMap::new();
        for part in text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
        {
            let (id, address) = node_address(part)?;
            if let Some((other, _)) = peers.iter().find(|(_, known)| **known == address) {
                return Err(format!(
                    "nodes {other} and {id} have the address {address}; allowed: each address once"
                ));
            }
            if peers.insert(id, address).is_some() {
                return Err(format!("node {id} is there twice; allowed: each node once"));
            }
        }
        if peers.len() > PEERS_COUNT_MAX {
            let count = peers.len();
            return Err(format!("{count} nodes; allowed: at most {PEERS_COUNT_MAX}"));
        }
        Ok(Self(peers))
    }
}

/// Reads a node and its address, as in `4=127.0.0.1:7371`.
///
/// # Errors
///
/// Says what is wrong with it.
pub fn node_address(text: &str) -> Result<(u64, HostPort), String> {
    let (id, address) = text.split_once('=').ok_or_else(|| {
        format!("\"{text}\" is not a node and its address, as in 1=127.0.0.1:7071")
    })?;
    let known = id.trim().parse().ok();
    let id = known
        .filter(|id| (1..=NODE_ID_MAX).contains(id))
        .ok_or_else(|| format!("node \"{id}\"; allowed: 1 to {NODE_ID_MAX}"))?;
    Ok((id, address.trim().parse()?))
}

impl fmt::Display for Peers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (id, address)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(formatter, "{comma}{id}={address}")?;
        }
        Ok(())
    }
}

macro_rules! as_text {
    ($type:ty) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(de::Error::custom)
            }
        }
    };
}

as_text!(HostPort);
as_text!(Peers);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_read_and_written() {
        let text = "1=127.0.0.1:7071,2=node-2.example:7071,3=[::1]:7071";
        let peers: Peers = text.parse().unwrap();
        assert_eq!(peers.to_string(), text);
        assert_eq!(peers.lowest(), Some(1));
        let local: Peers = " 4=localhost:9 ".parse().unwrap();
        assert_eq!(local.to_string(), "4=127.0.0.1:9");
    }

    #[test]
    fn wrong_peers_are_refused_by_name() {
        for (text, named) in [
            ("1=127.0.0.1:7071,1=127.0.0.1:7072", "node 1 is there twice"),
            (
                "1=127.0.0.1:7071,2=localhost:7071",
                "nodes 1 and 2 have the address",
            ),
            ("0=127.0.0.1:7071", "node \"0\"; allowed: 1 to"),
            ("one=127.0.0.1:7071", "node \"one\""),
            ("127.0.0.1:7071", "is not a node and its address"),
            ("1=127.0.0.1", "has no port"),
            ("1=127.0.0.1:0", "has no legal port"),
            ("1=127.0.0.1:70710", "has no legal port"),
            ("1=:7071", "has no legal host"),
        ] {
            let error = text.parse::<Peers>().unwrap_err();
            assert!(error.contains(named), "{text}: {error}");
        }
        let many: Vec<_> = (1..=10).map(|id| format!("{id}=127.0.0.1:{id}")).collect();
        let error = many.join(",").parse::<Peers>().unwrap_err();
        assert!(error.contains("10 nodes; allowed: at most 9"), "{error}");
    }
}
