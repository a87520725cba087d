use std::{
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use hyper_util::client::legacy::connect::dns::Name;
use tokio::{sync::Mutex, time::Instant};

/// Looks up the addresses of one authority's host, as the system does. One look-up runs at
/// a time and answers everybody who waits: a name server that is silent must not take the
/// threads that others need.
#[derive(Clone, Debug)]
pub(super) struct Resolver {
    timeout: Duration,
    addresses_for: Duration,
    known: Arc<Mutex<Option<Known>>>,
}

#[derive(Debug)]
struct Known {
    host: Name,
    /// Or why there are none.
    addresses: Result<Vec<SocketAddr>, (io::ErrorKind, String)>,
    until: Instant,
}

impl Known {
    fn addresses(&self) -> io::Result<std::vec::IntoIter<SocketAddr>> {
        match &self.addresses {
            Ok(addresses) => Ok(addresses.clone().into_iter()),
            Err((kind, message)) => Err(io::Error::new(*kind, message.clone())),
        }
    }
}

impl Resolver {
    /// One look-up takes at most `timeout`, and what it found out is used for
    /// `addresses_for`.
    pub(super) fn new(timeout: Duration, addresses_for: Duration) -> Self {
        Self {
            timeout,
            addresses_for,
            known: Arc::default(),
        }
    }

    async fn look_up(self, host: Name) -> io::Result<std::vec::IntoIter<SocketAddr>> {
        let mut known = self.known.lock().await;
        if let Some(known) = &*known
            && known.host == host
            && Instant::now() < known.until
        {
            return known.addresses();
        }
        let found = Known {
            addresses: self.ask(&host).await,
            host,
            until: Instant::now() + self.addresses_for,
        };
        known.insert(found).addresses()
    }

    async fn ask(&self, host: &Name) -> Result<Vec<SocketAddr>, (io::ErrorKind, String)> {
        // The connector puts the port in.
        let asking = tokio::net::lookup_host((host.as_str(), 0));
        match tokio::time::timeout(self.timeout, asking).await {
            Ok(Ok(addresses)) => Ok(addresses.collect()),
            Ok(Err(error)) => Err((error.kind(), format!("{host}: {error}"))),
            Err(_) => {
                let limit_ms = self.timeout.as_millis();
                let message = format!("{host}: no answer from the name service in {limit_ms} ms");
                Err((io::ErrorKind::TimedOut, message))
            }
        }
    }
}

impl tower::Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, host: Name) -> Self::Future {
        Box::pin(self.clone().look_up(host))
    }
}
