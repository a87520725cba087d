use std::sync::atomic::{AtomicU64, Ordering};

use rustix::process::{Signal, getpid, kill_process};

/// Dies at a chosen moment, as by `kill -9`: no destructor runs, nothing is flushed.
#[derive(Debug)]
pub(crate) struct CrashPlan {
    /// How many times to come to that moment before it is the last; 0 means never.
    left: AtomicU64,
}

impl CrashPlan {
    pub(crate) fn new(at: Option<u64>) -> Self {
        Self {
            left: AtomicU64::new(at.unwrap_or(0)),
        }
    }

    /// To be called at the worst moment.
    pub(crate) fn moment(&self) {
        let left = self
            .left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                left.checked_sub(1)
            });
        if left == Ok(1) {
            eprintln!("dying on purpose");
            // A failure would mean that this process may not signal itself.
            let _ = kill_process(getpid(), Signal::KILL);
            loop {
                std::thread::park();
            }
        }
    }
}
