use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use rand::Rng;
use rand::rngs::SmallRng;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::disk::SimulatedDisk;
use super::trace::Trace;
use super::world::poll_now;
use crate::cluster::Purpose;
use crate::log::OpenError;
use crate::wal::{Wal, Written};
use crate::{Blocking, Log, Options, WallClock};

/// The time of day at which every world begins, in milliseconds since the Unix epoch.
pub const EPOCH_MS: u64 = 1_800_000_000_000;
/// How often commit positions without entries to travel with are written.
const LAZY_MS: u64 = 100;

/// How fast a node's disk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// How long a sync takes at least.
    pub sync_min_ms: u64,
    /// How long a sync takes at most.
    pub sync_max_ms: u64,
    /// How long it takes at most until a segment is prepared.
    pub prepare_max_ms: u64,
}

impl Pace {
    /// A good disk.
    pub const FAST: Self = Self {
        sync_min_ms: 0,
        sync_max_ms: 2,
        prepare_max_ms: 10,
    };
}

type Opened = Arc<Mutex<Option<Arc<Wal>>>>;

/// A running process.
struct Process {
    wal: Opened,
    /// Set when the process would have ended itself.
    failed: Arc<AtomicBool>,
    opening: Option<JoinHandle<Result<Log, OpenError>>>,
    log: Option<Log>,
    sync_at_ms: Option<u64>,
    prepare_at_ms: Option<u64>,
    lazy_at_ms: u64,
    /// Last, so that its tasks are gone when everything else is.
    runtime: Runtime,
}

/// A machine and what runs on it.
pub(super) struct Host {
    id: u64,
    pub(super) disk: SimulatedDisk,
    pub(super) pace: Pace,
    /// Where everything is that is not on the simulated disk.
    directory: PathBuf,
    process: Option<Process>,
    wall_ms: Arc<AtomicU64>,
    /// How far the time of day is off, in milliseconds.
    pub(super) skew_ms: i64,
    /// How many milliseconds of this machine pass in a thousand of the world.
    pub(super) rate: u64,
    /// Thousandths of a millisecond that have not passed on this machine yet.
    owed: u64,
    pub(super) paused_until_ms: u64,
    /// Milliseconds that passed while it was paused.
    missed_ms: u64,
}

/// Why a process is not running any more.
#[derive(Debug)]
pub(super) enum Ended {
    /// It ended itself: the log failed, or the Raft group has stopped.
    Failed,
    /// It could not open its log.
    NotOpened(OpenError),
}

impl Host {
    pub(super) fn new(id: u64, directory: PathBuf) -> Self {
        Self {
            id,
            disk: SimulatedDisk::default(),
            pace: Pace::FAST,
            directory,
            process: None,
            wall_ms: Arc::new(AtomicU64::new(EPOCH_MS)),
            skew_ms: 0,
            rate: 1_000,
            owed: 0,
            paused_until_ms: 0,
            missed_ms: 0,
        }
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(super) fn is_running(&self) -> bool {
        self.process.is_some()
    }

    pub(super) fn log(&self) -> Option<&Log> {
        self.process.as_ref()?.log.as_ref()
    }

    pub(super) fn wal(&self) -> Option<Arc<Wal>> {
        let wal = &self.process.as_ref()?.wal;
        wal.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Does something where the process's clocks are the clocks.
    pub(super) fn enter<T>(&self, work: impl FnOnce(&Log, &Runtime) -> T) -> Option<T> {
        let process = self.process.as_ref()?;
        let log = process.log.as_ref()?;
        let _inside = process.runtime.enter();
        Some(work(log, &process.runtime))
    }

    pub(super) fn serve_peer(
        &self,
        from: u64,
        purpose: Purpose,
        frames: mpsc::Receiver<Bytes>,
    ) -> Option<mpsc::Receiver<Bytes>> {
        self.enter(|log, _| log.serve_peer(from, purpose, frames))
    }

    /// Starts the process; it opens its log while the world goes on.
    pub(super) fn start(&mut self, mut options: Options, now_ms: u64) -> io::Result<()> {
        let mut builder = Builder::new_current_thread();
        let runtime = builder.enable_time().start_paused(true).build()?;
        let wal = Opened::default();
        let failed = Arc::new(AtomicBool::new(false));
        options.data_dir.clone_from(&self.directory);
        options.node_id = self.id;
        options.blocking = Blocking::Inline;
        let wall_ms = Arc::clone(&self.wall_ms);
        options.wall_clock = WallClock::new(move || wall_ms.load(Ordering::Relaxed));
        let disk = self.disk.mount();
        let (opened, noticed) = (Arc::clone(&wal), Arc::clone(&failed));
        let open_wal = move |path: &Path, options| {
            let on_fatal = Arc::new(move |_: &io::Error| noticed.store(true, Ordering::Relaxed));
            let wal = Arc::new(Wal::open_inline(path, options, disk, on_fatal)?);
            *opened.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&wal));
            Ok(wal)
        };
        let opening = runtime.spawn(Log::open_with(options, open_wal));
        self.owed = 0;
        self.missed_ms = 0;
        self.process = Some(Process {
            wal,
            failed,
            opening: Some(opening),
            log: None,
            sync_at_ms: None,
            prepare_at_ms: None,
            lazy_at_ms: now_ms + LAZY_MS,
            runtime,
        });
        Ok(())
    }

    /// Ends the process at once, with all of its tasks. The disk must be crashed before, so
    /// that nothing more is written on the way.
    pub(super) fn kill(&mut self) {
        self.process = None;
    }

    /// One millisecond of the world.
    pub(super) fn step(
        &mut self,
        now_ms: u64,
        random: &mut SmallRng,
        trace: &mut Trace,
    ) -> Result<(), Ended> {
        let wall_ms = (EPOCH_MS + now_ms).saturating_add_signed(self.skew_ms);
        self.wall_ms.store(wall_ms, Ordering::Relaxed);
        let Some(process) = &mut self.process else {
            return Ok(());
        };
        self.owed += self.rate;
        let passed_ms = self.owed / 1_000;
        self.owed %= 1_000;
        if self.paused_until_ms > now_ms {
            self.missed_ms += passed_ms;
            return Ok(());
        }
        process.finish_sync(self.id, now_ms, trace);
        process.run(std::mem::take(&mut self.missed_ms), passed_ms);
        process.begin_writing(self.pace, now_ms, random);
        process.prepare(self.pace, now_ms, random);
        if process.failed.load(Ordering::Relaxed) {
            return Err(Ended::Failed);
        }
        process.finish_opening(self.id, trace)
    }
}

impl Process {
    fn wal(&self) -> Option<Arc<Wal>> {
        let wal = self.wal.lock();
        wal.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn finish_sync(&mut self, id: u64, now_ms: u64, trace: &mut Trace) {
        if self.sync_at_ms.is_none_or(|at_ms| at_ms > now_ms) {
            return;
        }
        self.sync_at_ms = None;
        if let Some(wal) = self.wal() {
            let _inside = self.runtime.enter();
            wal.sync_step();
            let durable = wal.durable(0).map(|id| (id.term, id.index));
            trace.note(format_args!("node {id} synced, durable {durable:?}"));
        }
    }

    /// Lets the tasks run while so much time passes; first the time that was missed, at once.
    fn run(&self, missed_ms: u64, passed_ms: u64) {
        self.runtime.block_on(async {
            if missed_ms > 0 {
                tokio::time::advance(Duration::from_millis(missed_ms)).await;
            }
            match passed_ms {
                0 => tokio::task::yield_now().await,
                _ => tokio::time::sleep(Duration::from_millis(passed_ms)).await,
            }
        });
    }

    fn begin_writing(&mut self, pace: Pace, now_ms: u64, random: &mut SmallRng) {
        let Some(wal) = self.wal() else { return };
        if self.sync_at_ms.is_some() {
            return;
        }
        let _inside = self.runtime.enter();
        if self.lazy_at_ms <= now_ms {
            self.lazy_at_ms = now_ms + LAZY_MS;
            wal.lazy_step();
        }
        if wal.write_step() == Written::Unsynced {
            let takes_ms = random.random_range(pace.sync_min_ms..=pace.sync_max_ms);
            self.sync_at_ms = Some(now_ms + takes_ms);
        }
    }

    fn prepare(&mut self, pace: Pace, now_ms: u64, random: &mut SmallRng) {
        let Some(wal) = self.wal() else { return };
        match self.prepare_at_ms {
            Some(at_ms) if at_ms > now_ms => {}
            _ => {
                wal.prepare_step();
                let wait_ms = random.random_range(1..=pace.prepare_max_ms.max(1));
                self.prepare_at_ms = Some(now_ms + wait_ms);
            }
        }
    }

    fn finish_opening(&mut self, id: u64, trace: &mut Trace) -> Result<(), Ended> {
        let Some(opening) = &mut self.opening else {
            return Ok(());
        };
        let Some(opened) = poll_now(opening) else {
            return Ok(());
        };
        self.opening = None;
        match opened.unwrap_or(Err(OpenError::Interrupted)) {
            Ok(log) => {
                let status = log.status();
                trace.note(format_args!(
                    "node {id} has opened its log: term {}, applied {}, durable {}",
                    status.term, status.applied_index, status.durable_index
                ));
                self.log = Some(log);
                Ok(())
            }
            Err(error) => Err(Ended::NotOpened(error)),
        }
    }
}
