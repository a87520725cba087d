use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Which database an application keeps its fence table in.
///
/// `sqlite:///absolute/path` or `postgres://user:password@host:port/database`. Printed
/// without the password.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl(String);

/// The kinds of databases that Outrigger can check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatabaseKind {
    /// PostgreSQL.
    Postgres,
    /// SQLite.
    Sqlite,
}

impl DatabaseUrl {
    /// The URL as written, with the password.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What kind of database it names.
    pub fn kind(&self) -> DatabaseKind {
        if self.0.starts_with("sqlite:") {
            DatabaseKind::Sqlite
        } else {
            DatabaseKind::Postgres
        }
    }
}

impl FromStr for DatabaseUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const SCHEMES: [&str; 3] = ["postgres://", "postgresql://", "sqlite:"];
        if SCHEMES.iter().any(|scheme| text.starts_with(scheme)) {
            return Ok(Self(text.to_owned()));
        }
        let scheme = text.split(':').next().unwrap_or_default();
        Err(format!(
            "the database URL begins with \"{scheme}\"; allowed: postgres:// or sqlite:"
        ))
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((scheme, rest)) = self.0.split_once("://") else {
            return formatter.write_str(&self.0);
        };
        let Some((credentials, place)) = rest.rsplit_once('@') else {
            return formatter.write_str(&self.0);
        };
        let user = credentials.split(':').next().unwrap_or_default();
        write!(formatter, "{scheme}://{user}@{place}")
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "DatabaseUrl({self})")
    }
}

impl Serialize for DatabaseUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for DatabaseUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}
