use std::{fmt, str::FromStr as _, sync::Arc};

use ::http::Uri;
use outrigger_core::limits::SAGA_ADDRESS_CHARACTERS_MAX;

/// Where, and over which protocol, a participant is called. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint(Arc<Parts>);

#[derive(PartialEq, Eq)]
struct Parts {
    url: String,
    protocol: Protocol,
    /// Of a gRPC participant; otherwise empty.
    operation: String,
    /// Host and port, in lower case.
    authority: Arc<str>,
    uri: Uri,
}

/// How a participant is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Protocol {
    Http,
    Grpc,
}

impl Protocol {
    pub(super) const ALL: [Self; 2] = [Self::Http, Self::Grpc];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Grpc => "grpc",
        }
    }
}

/// Why participants cannot be called somewhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// The URL is too long.
    #[error("{field}: a URL of {bytes} bytes; at most {limit} are allowed")]
    TooLong {
        /// What it was given for.
        field: String,
        /// How long it is.
        bytes: usize,
        /// How long it may be.
        limit: usize,
    },
    /// Nobody can be called over TLS yet.
    #[error("{field}: {url:?} asks for TLS, which calls to participants do not have; use http://")]
    Tls {
        /// What it was given for.
        field: String,
        /// The URL.
        url: String,
    },
    /// It has a name and perhaps a password, which would end up in logs.
    #[error("{field}: the URL has a user name before its host; there must be none")]
    UserInfo {
        /// What it was given for.
        field: String,
    },
    /// Anything else.
    #[error("{field}: participants cannot be called at {url:?}: {reason}")]
    Invalid {
        /// What it was given for.
        field: String,
        /// The URL.
        url: String,
        /// What is wrong, and what is allowed.
        reason: String,
    },
}

impl Endpoint {
    /// The longest URL in bytes.
    pub const URL_BYTES_MAX: usize = 4 * SAGA_ADDRESS_CHARACTERS_MAX;

    /// A participant that is called with `POST url`. `field` is what the URL was given for.
    ///
    /// # Errors
    /// When nobody can be called there.
    pub fn http(field: &str, url: &str) -> Result<Self, EndpointError> {
        Self::new(field, Protocol::Http, url, String::new())
    }

    /// A participant that implements `outrigger.v1.Participant`, and which of its operations.
    /// The URL has no path. `field` is what the URL was given for.
    ///
    /// # Errors
    /// When nobody can be called there.
    pub fn grpc(field: &str, url: &str, operation: &str) -> Result<Self, EndpointError> {
        Self::new(field, Protocol::Grpc, url, operation.to_owned())
    }

    fn new(
        field: &str,
        protocol: Protocol,
        url: &str,
        operation: String,
    ) -> Result<Self, EndpointError> {
        let (field, limit) = (|| field.to_owned(), Self::URL_BYTES_MAX);
        if url.len() > limit {
            let (field, bytes) = (field(), url.len());
            return Err(EndpointError::TooLong {
                field,
                bytes,
                limit,
            });
        }
        let invalid = |reason: &str| EndpointError::Invalid {
            field: field(),
            url: url.to_owned(),
            reason: reason.to_owned(),
        };
        let uri = Uri::from_str(url).map_err(|error| invalid(&error.to_string()))?;
        if uri.authority().is_some_and(|a| a.as_str().contains('@')) {
            return Err(EndpointError::UserInfo { field: field() });
        }
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => {
                let url = url.to_owned();
                return Err(EndpointError::Tls {
                    field: field(),
                    url,
                });
            }
            Some(_) | None => return Err(invalid("it must begin with http://")),
        }
        if url.contains('#') {
            return Err(invalid("it has a fragment, which no participant would see"));
        }
        let authority = authority(&uri).map_err(invalid)?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        if protocol == Protocol::Grpc && path != "/" {
            return Err(invalid("a gRPC participant has no path"));
        }
        let uri = Uri::builder()
            .scheme("http")
            .authority(authority.as_str())
            .path_and_query(path)
            .build()
            .map_err(|error| invalid(&error.to_string()))?;
        Ok(Self(Arc::new(Parts {
            url: url.to_owned(),
            protocol,
            operation,
            authority: authority.into(),
            uri,
        })))
    }

    /// As it was given.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.0.url
    }

    /// Which operation of a gRPC participant.
    #[must_use]
    pub fn operation(&self) -> &str {
        &self.0.operation
    }

    /// It is called over gRPC; otherwise over HTTP.
    pub(in crate::saga) fn is_grpc(&self) -> bool {
        self.0.protocol == Protocol::Grpc
    }

    pub(super) fn protocol(&self) -> Protocol {
        self.0.protocol
    }

    /// What fails together.
    pub(in crate::saga) fn authority(&self) -> &Arc<str> {
        &self.0.authority
    }

    pub(super) fn uri(&self) -> &Uri {
        &self.0.uri
    }
}

/// Host and port in lower case, or what is wrong with them.
fn authority(uri: &Uri) -> Result<String, &'static str> {
    const PORT: &str = "a port is a number from 1 to 65535";
    let authority = uri.authority().ok_or("it has no host")?;
    let host = authority.host();
    if host.is_empty() || host == "[]" {
        return Err("it has no host");
    }
    let port = match authority.as_str().strip_prefix(host) {
        Some("") => 80,
        Some(rest) => {
            let port = rest.strip_prefix(':').ok_or(PORT)?;
            // A number's own parser would take a sign as well.
            let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
            let port = port.parse().ok().filter(|port| is_number && *port != 0);
            port.ok_or(PORT)?
        }
        None => return Err("its host cannot be told from its port"),
    };
    let port: u16 = port;
    Ok(format!("{}:{port}", host.to_ascii_lowercase()))
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Parts {
            url,
            protocol,
            operation,
            ..
        } = &*self.0;
        write!(f, "Endpoint({} {url} {operation})", protocol.name())
    }
}
