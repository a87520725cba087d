use std::net::{Ipv4Addr, TcpListener};

use super::Error;

/// A port that is free now. Somebody else may take it before the server does; whoever
/// starts a server tries again with another one then.
pub(super) fn free() -> Result<u16, Error> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|error| Error::io("look for a free port", &error))
}
