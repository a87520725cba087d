//! A process that carries out sagas, with the real executor in it.

use std::{io, sync::Arc, time::Duration};

use outrigger::saga::executor::{Executor, Handle, Options, Surroundings};
use outrigger_core::saga::ledger::OwnerId;
use outrigger_log::simulation::{EPOCH_MS, poll_now};
use rand::Rng;
use tokio::{
    runtime::{Builder, Runtime},
    sync::oneshot,
    task::JoinHandle,
    time::Instant,
};

use super::wire::{Access, Request};
use crate::simulation::scene::Scene;

/// How long what is under way may take when it gives everything back.
const DRAIN_MS: u64 = 300;
/// How long an owner counts as alive that must not lose its sagas while all nodes are down.
const LONG_LEASE_MS: u64 = 5_000;

/// A process that runs.
struct Process {
    id: OwnerId,
    access: Access,
    handle: Handle,
    executor: JoinHandle<()>,
    /// Last, so that its tasks are gone when everything else is.
    runtime: Runtime,
}

/// A machine and the process on it.
pub(super) struct Owner {
    pub(super) number: u64,
    process: Option<Process>,
    runs: u64,
    /// How long it counts as alive.
    lease_ms: u64,
    paused_until_ms: u64,
    missed_ms: u64,
    cut_off_until_ms: u64,
    pub(super) starts_at_ms: u64,
}

impl Owner {
    pub(super) fn new(scene: &mut Scene, number: u64) -> Self {
        Self {
            number,
            process: None,
            runs: 0,
            lease_ms: scene.pick(300..=900),
            paused_until_ms: 0,
            missed_ms: 0,
            cut_off_until_ms: 0,
            starts_at_ms: 0,
        }
    }

    pub(super) fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// Who it is now.
    pub(super) fn id(&self) -> Option<OwnerId> {
        self.process.as_ref().map(|process| process.id)
    }

    pub(super) fn is_cut_off(&self, now_ms: u64) -> bool {
        self.cut_off_until_ms > now_ms
    }

    /// Starts the process, with a new name.
    pub(super) fn start(&mut self, scene: &mut Scene, access: Access) -> io::Result<()> {
        self.runs += 1;
        let id = OwnerId::from(self.number) << 32 | OwnerId::from(self.runs);
        scene
            .world
            .trace()
            .note(format_args!("owner {id:x} starts"));
        let mut builder = Builder::new_current_thread();
        let runtime = builder.enable_time().start_paused(true).build()?;
        let inside = runtime.enter();
        // Its clock may be wrong; it must only run with tokio's.
        let skew_ms = scene.pick(0..=2_000);
        let (began, began_at_ms) = (Instant::now(), EPOCH_MS + scene.now_ms() + skew_ms - 1_000);
        let now_ms = move || {
            let passed = began.elapsed().as_millis();
            began_at_ms + u64::try_from(passed).unwrap_or(u64::MAX)
        };
        let surroundings = Surroundings {
            owner: id,
            seed: scene.world.random().random(),
            now_ms: Arc::new(now_ms),
        };
        let (handle, executor) = Executor::new(
            Arc::new(access.clone()),
            Arc::new(access.clone()),
            Arc::new(access.clone()),
            self.options(scene),
            surroundings,
        );
        let executor = runtime.spawn(executor.run());
        drop(inside);
        self.missed_ms = 0;
        self.paused_until_ms = 0;
        self.process = Some(Process {
            id,
            access,
            handle,
            executor,
            runtime,
        });
        Ok(())
    }

    /// Small, so that a short run meets all limits.
    fn options(&self, scene: &mut Scene) -> Options {
        let small = scene.chance(30);
        Options {
            lease_ms: self.lease_ms,
            beat_interval_ms: scene.pick(40..=120),
            sagas_max: if small { 4 } else { 64 },
            sagas_asleep_max: if small { 8 } else { 64 },
            take_max: scene.pick(1..=16) as u32,
            reads_max: scene.pick(1..=8) as usize,
            batch_commands_max: scene.pick(2..=16) as usize,
            batches_max: scene.pick(1..=4) as usize,
            calls_max: scene.pick(3..=32) as usize,
            calls_per_lane_max: scene.pick(1..=8) as usize,
            retry_base_ms: 10,
            retry_cap_ms: 100,
            poll_cap_ms: 100,
            ..Options::default()
        }
    }

    /// Ends the process in the middle of whatever it does.
    pub(super) fn kill(&mut self, scene: &mut Scene, off_ms: u64) {
        if let Some(process) = self.process.take() {
            scene
                .world
                .trace()
                .note(format_args!("owner {:x} is killed", process.id));
        }
        self.starts_at_ms = scene.now_ms() + off_ms;
    }

    /// Stops the process for a while, as a debugger or a busy machine does.
    pub(super) fn pause(&mut self, scene: &mut Scene, for_ms: u64) {
        let id = self.id().unwrap_or(0);
        scene
            .world
            .trace()
            .note(format_args!("owner {id:x} is paused for {for_ms} ms"));
        self.paused_until_ms = scene.now_ms() + for_ms;
    }

    pub(super) fn is_paused(&self, now_ms: u64) -> bool {
        self.paused_until_ms > now_ms
    }

    /// It is not stopped any more.
    pub(super) fn go_on(&mut self) {
        self.paused_until_ms = 0;
    }

    /// It counts as alive for much longer than an election takes.
    pub(super) fn live_long(&mut self) {
        self.lease_ms = LONG_LEASE_MS;
    }

    /// Nothing gets through from it or to it for a while.
    pub(super) fn cut_off(&mut self, scene: &mut Scene, for_ms: u64) {
        let id = self.id().unwrap_or(0);
        scene
            .world
            .trace()
            .note(format_args!("owner {id:x} is cut off for {for_ms} ms"));
        self.cut_off_until_ms = scene.now_ms() + for_ms;
    }

    /// Works as it should from now on.
    pub(super) fn heal(&mut self, now_ms: u64) {
        self.paused_until_ms = 0;
        self.cut_off_until_ms = 0;
        self.starts_at_ms = self.starts_at_ms.min(now_ms);
        if let Some(process) = &self.process {
            process.access.set_away(None);
        }
    }

    /// It gives everything back and ends.
    pub(super) fn drain(&self) {
        self.ask(|handle| async move { handle.drain(Duration::from_millis(DRAIN_MS)).await });
    }

    /// Calls to this host are not tried for now.
    pub(super) fn set_away(&self, host: Option<String>) {
        if let Some(process) = &self.process {
            process.access.set_away(host);
        }
    }

    /// Begins something in the process. Nothing comes of it when the process is killed.
    pub(super) fn ask<F, T>(&self, work: impl FnOnce(Handle) -> F) -> Option<oneshot::Receiver<T>>
    where
        F: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        let process = self.process.as_ref()?;
        let (told, answer) = oneshot::channel();
        let work = work(process.handle.clone());
        process.runtime.spawn(async move {
            // Nobody may want to know any more.
            let _ = told.send(work.await);
        });
        Some(answer)
    }

    /// One millisecond of the world: what it asks for in it. An error when it ended by itself
    /// in a way in which it must not.
    pub(super) fn step(&mut self, scene: &mut Scene) -> Result<Vec<Request>, String> {
        let now_ms = scene.now_ms();
        let Some(process) = &mut self.process else {
            return Ok(Vec::new());
        };
        if self.paused_until_ms > now_ms {
            self.missed_ms += 1;
            return Ok(Vec::new());
        }
        let missed = Duration::from_millis(std::mem::take(&mut self.missed_ms));
        process.runtime.block_on(async {
            if !missed.is_zero() {
                tokio::time::advance(missed).await;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        });
        let requests = process.access.take();
        let id = process.id;
        if let Some(ended) = poll_now(&mut process.executor) {
            self.process = None;
            self.starts_at_ms = now_ms + scene.pick(0..=300);
            scene
                .world
                .trace()
                .note(format_args!("owner {id:x} has ended"));
            ended.map_err(|error| format!("owner {id:x} ended: {error}"))?;
        }
        Ok(requests)
    }
}
