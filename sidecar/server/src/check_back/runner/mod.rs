//! Drives the core's scheduler: finds unresolved transactions, asks, records.

mod driver;
mod scan;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use outrigger_log::Log;
use tokio::{sync::watch, task::JoinHandle};

use super::{
    CallbackHub, Collector, Error, LastChecks, Options, TransactionLog, checkers::Checkers,
};
use driver::Driver;

/// Check-back at work.
pub struct CheckBack {
    callbacks: CallbackHub,
    last_checks: LastChecks,
    driver: JoinHandle<()>,
    collector: JoinHandle<()>,
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
        // They only end when they are told to.
        let _ = self.driver.await;
        let _ = self.collector.await;
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
    let collector = Collector::new(Arc::clone(&log), &options)?;
    let driver = Driver::new(log, options, checkers, last_checks.clone());
    // A task of its own: no check waits for it.
    let collector = tokio::spawn(until(stopping.clone(), collector.run()));
    let hub = callbacks.clone();
    let driver = tokio::spawn(async move {
        until(stopping, driver.run()).await;
        hub.close();
    });
    Ok(CheckBack {
        callbacks,
        last_checks,
        driver,
        collector,
    })
}

/// Drops the work when it is told to stop.
async fn until(mut stopping: watch::Receiver<bool>, work: impl Future<Output = ()>) {
    tokio::select! {
        () = work => {}
        // An error means that nobody is left who could say it.
        _ = stopping.wait_for(|stopping| *stopping) => {}
    }
}
