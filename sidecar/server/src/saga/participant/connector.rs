use std::time::Duration;

use hyper_util::client::legacy::connect::HttpConnector;

use super::{Options, resolver::Resolver};

/// Connects to one authority.
pub(super) fn connector(options: &Options) -> HttpConnector<Resolver> {
    let timeout = Duration::from_millis(options.connect_timeout_ms);
    let addresses_for = Duration::from_millis(options.addresses_ms);
    let mut connector = HttpConnector::new_with_resolver(Resolver::new(timeout, addresses_for));
    connector.set_connect_timeout(Some(timeout));
    connector.set_nodelay(true);
    connector
}
