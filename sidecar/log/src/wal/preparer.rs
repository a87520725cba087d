//! The thread that makes segments ready before they are needed.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use super::disk::{Disk, DiskFile};
use super::lock;
use super::segment::{self, SegmentHeader};
use super::state::Plan;

/// After a full disk, how long to wait before looking whether there is space again.
const SPACE_RETRY_MS: u64 = 500;
/// The wait between two portions of zeros while there is no hurry: 100 MB/s, so that zeros do
/// not hold up the syncs of this log, nor those of others on the same disk.
const PACE_MS: u64 = 40;

#[derive(Default)]
struct Orders {
    wanted: VecDeque<Plan>,
    ready: BTreeMap<u32, Arc<dyn DiskFile>>,
    closing: bool,
}

/// Prepares segments in the background and hands them to the writer.
pub(super) struct Preparer {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    owner: u64,
    orders: Mutex<Orders>,
    changed: Condvar,
    no_space: AtomicBool,
    /// How much of the segment being written is used, in thousandths.
    used_permille: AtomicU32,
}

impl Preparer {
    pub(super) fn new(disk: Arc<dyn Disk>, directory: PathBuf, owner: u64) -> Self {
        Self {
            disk,
            directory,
            owner,
            orders: Mutex::default(),
            changed: Condvar::new(),
            no_space: AtomicBool::new(false),
            used_permille: AtomicU32::new(0),
        }
    }

    /// True while the next segment cannot be prepared.
    pub(super) fn no_space(&self) -> bool {
        self.no_space.load(Ordering::Relaxed)
    }

    /// True when this segment, or one before it, is still to be prepared.
    pub(super) fn lacks(&self, sequence: u32) -> bool {
        let orders = lock(&self.orders);
        let next = orders.wanted.front();
        next.is_some_and(|plan| plan.sequence <= sequence)
    }

    pub(super) fn set_used(&self, used: u32, of: u32) {
        let permille = u64::from(used) * 1000 / u64::from(of.max(1));
        self.used_permille.store(permille as u32, Ordering::Relaxed);
    }

    /// Orders a segment.
    pub(super) fn order(&self, plan: Plan) {
        lock(&self.orders).wanted.push_back(plan);
        self.changed.notify_all();
    }

    /// Puts a segment that was prepared before among those that are ready.
    pub(super) fn put_ready(&self, sequence: u32, file: Arc<dyn DiskFile>) {
        lock(&self.orders).ready.insert(sequence, file);
    }

    /// Waits for a segment that was ordered; none when closed first.
    pub(super) fn take(&self, sequence: u32) -> Option<Arc<dyn DiskFile>> {
        let mut orders = lock(&self.orders);
        loop {
            if let Some(file) = orders.ready.remove(&sequence) {
                return Some(file);
            }
            if orders.closing {
                return None;
            }
            orders = self
                .changed
                .wait(orders)
                .unwrap_or_else(std::sync::PoisonError::into_inner);
        }
    }

    pub(super) fn close(&self) {
        lock(&self.orders).closing = true;
        self.changed.notify_all();
    }

    /// The segment, when it is ready.
    #[cfg(feature = "simulation")]
    pub(super) fn try_take(&self, sequence: u32) -> Option<Arc<dyn DiskFile>> {
        lock(&self.orders).ready.remove(&sequence)
    }

    /// Prepares what was ordered, until that fails.
    #[cfg(feature = "simulation")]
    pub(super) fn prepare_ordered(&self) {
        loop {
            let Some(plan) = lock(&self.orders).wanted.front().copied() else {
                return;
            };
            match self.prepare(plan) {
                Ok(file) => self.hand_over(plan, file),
                Err(error) => return self.refuse(plan, &error),
            }
        }
    }

    /// Works until closed.
    pub(super) fn run(&self) {
        while let Some(plan) = self.next_order() {
            match self.prepare(plan) {
                Ok(file) => self.hand_over(plan, file),
                Err(_) if lock(&self.orders).closing => return,
                Err(error) => {
                    self.refuse(plan, &error);
                    self.wait_for_space();
                }
            }
        }
    }

    fn hand_over(&self, plan: Plan, file: Arc<dyn DiskFile>) {
        self.no_space.store(false, Ordering::Relaxed);
        let mut orders = lock(&self.orders);
        orders.wanted.pop_front();
        orders.ready.insert(plan.sequence, file);
        self.changed.notify_all();
    }

    fn next_order(&self) -> Option<Plan> {
        let mut orders = lock(&self.orders);
        loop {
            if orders.closing {
                return None;
            }
            if let Some(plan) = orders.wanted.front() {
                return Some(*plan);
            }
            orders = self
                .changed
                .wait(orders)
                .unwrap_or_else(std::sync::PoisonError::into_inner);
        }
    }

    fn prepare(&self, plan: Plan) -> std::io::Result<Arc<dyn DiskFile>> {
        let header = SegmentHeader {
            sequence: plan.sequence,
            bytes: plan.bytes,
            owner: self.owner,
        };
        segment::prepare(&*self.disk, &self.directory, header, |done| {
            let done_permille = done * 1000 / u64::from(plan.bytes.max(1));
            let used_permille = u64::from(self.used_permille.load(Ordering::Relaxed));
            if done_permille > 2 * used_permille {
                std::thread::sleep(Duration::from_millis(PACE_MS));
            }
            !lock(&self.orders).closing
        })
    }

    /// Whatever the reason is, the log goes on as far as it has segments, and the edge refuses
    /// new work until a segment can be made again.
    fn refuse(&self, plan: Plan, error: &std::io::Error) {
        if !self.no_space.swap(true, Ordering::Relaxed) {
            tracing::error!(segment = plan.sequence, bytes = plan.bytes, %error,
                "the next segment of the log cannot be prepared; refusing new work");
        }
        if let Err(error) = segment::discard(&*self.disk, &self.directory, plan.sequence) {
            tracing::debug!(%error, "an unfinished segment could not be removed");
        }
    }

    fn wait_for_space(&self) {
        let orders = lock(&self.orders);
        if orders.closing {
            return;
        }
        let pause = Duration::from_millis(SPACE_RETRY_MS);
        drop(self.changed.wait_timeout(orders, pause));
    }
}
