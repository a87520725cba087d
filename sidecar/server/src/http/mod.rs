//! The HTTP port: probes for the platform and metrics for Prometheus.

mod leaders;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{Router, extract::State, http::StatusCode, routing::get};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;

pub(crate) use self::leaders::be_ready;

/// How often it is looked whether the door is open.
const ACCEPTED_POLL_MS: u64 = 1;

/// Why the HTTP port could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another recorder is installed in this process.
    #[error("metrics: {0}")]
    Metrics(#[from] metrics_exporter_prometheus::BuildError),
}

/// Whether the process can serve; shared between whoever decides and whoever is asked.
#[derive(Clone, Debug)]
pub struct Readiness(Arc<Mutex<Door>>);

#[derive(Debug)]
struct Door {
    /// Or why it is closed.
    is_open: Result<(), String>,
    /// It never opens again.
    is_over: bool,
}

impl Default for Readiness {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Door {
            is_open: Err("starting".to_owned()),
            is_over: false,
        })))
    }
}

impl Readiness {
    /// True while requests are welcome.
    pub fn is_ready(&self) -> bool {
        self.get().is_ok()
    }

    /// Opens the door.
    pub fn accept(&self) {
        self.set(Ok(()));
    }

    /// Returns when the door is open.
    pub async fn accepted(&self) {
        while !self.is_ready() {
            tokio::time::sleep(Duration::from_millis(ACCEPTED_POLL_MS)).await;
        }
    }

    /// Closes the door, and says why.
    pub fn refuse(&self, why: &str) {
        self.set(Err(why.to_owned()));
    }

    /// Closes the door for good.
    pub fn end(&self, why: &str) {
        self.refuse(why);
        self.lock().is_over = true;
    }

    /// Why the door is closed, if it is.
    pub fn get(&self) -> Result<(), String> {
        self.lock().is_open.clone()
    }

    fn set(&self, is_open: Result<(), String>) {
        let mut door = self.lock();
        if !door.is_over {
            door.is_open = is_open;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Door> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Clone)]
struct Shared {
    readiness: Readiness,
    metrics: PrometheusHandle,
}

/// Installs the process's metrics recorder.
///
/// # Errors
///
/// When there is one already.
pub fn install_metrics() -> Result<PrometheusHandle, Error> {
    Ok(PrometheusBuilder::new().install_recorder()?)
}

/// Serves `/live`, `/ready` and `/metrics` until the process ends.
pub async fn serve(listener: TcpListener, readiness: Readiness, metrics: PrometheusHandle) {
    let router = Router::new()
        .route("/live", get(async || "live\n"))
        .route("/ready", get(ready))
        .route("/metrics", get(render))
        .with_state(Shared { readiness, metrics });
    if let Err(error) = axum::serve(listener, router).await {
        tracing::error!(%error, "the HTTP port has stopped serving");
    }
}

async fn ready(State(shared): State<Shared>) -> (StatusCode, String) {
    match shared.readiness.get() {
        Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
        Err(why) => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("not ready: {why}\n"),
        ),
    }
}

async fn render(State(shared): State<Shared>) -> String {
    shared.metrics.run_upkeep();
    shared.metrics.render()
}
