//! Drives the core's scheduler: finds unresolved transactions, asks, records.

mod driver;
mod scan;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use outrigger_log::Log;
use tokio::{sync::watch, task::JoinHandle};

use super::{CallbackHub, Error, LastChecks, Options, TransactionLog, checkers::Checkers};
use driver::Driver;

/// Check-back at work.
pub struct CheckBack {
    callbacks: CallbackHub,
    last_checks: LastChecks,
    driver: JoinHandle<()>,
}

impl CheckBack {
    /// Where CheckBack streams are connected.
    pub fn callbacks(&self) -> CallbackHub {
        self.callbacks.clone()
    }

    /// Why transactions are still undecided.
    pub fn last_checks(&self) -> LastChecks {
        self.last_checks.clone()
    }

    /// Waits until it has stopped.
    pub async fn stopped(self) {
        // It only ends when it is told to.
        let _ = self.driver.await;
    }
}

/// Starts check-back over the log; see [`start_over`].
///
/// # Errors
///
/// When the database of a group cannot be used.
pub fn start(
    log: Log,
    options: Options,
    stopping: watch::Receiver<bool>,
) -> Result<CheckBack, Error> {
    start_over(Arc::new(log), options, stopping)
}

/// Starts check-back over any log. It runs until `stopping` says true or is dropped, and
/// ends the CheckBack streams then; checks that are under way are dropped, which decides
/// nothing that the fence has not decided.
///
/// Must be called within a tokio runtime.
///
/// # Errors
///
/// When the database of a group cannot be used.
pub fn start_over<L: TransactionLog>(
    log: Arc<L>,
    options: Options,
    stopping: watch::Receiver<bool>,
) -> Result<CheckBack, Error> {
    let callbacks = CallbackHub::new(options.callback.clone());
    let last_checks = LastChecks::new(options.last_checks_max);
    let checkers = Checkers::new(&options, callbacks.clone())?;
    let driver = Driver::new(log, options, checkers, last_checks.clone());
    let (hub, mut stopping) = (callbacks.clone(), stopping);
    let driver = tokio::spawn(async move {
        tokio::select! {
            () = driver.run() => {}
            // An error means that nobody is left who could say it.
            _ = stopping.wait_for(|stopping| *stopping) => {}
        }
        hub.close();
    });
    Ok(CheckBack {
        callbacks,
        last_checks,
        driver,
    })
}
