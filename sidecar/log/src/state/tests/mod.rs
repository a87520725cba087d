mod admission;
mod cost;
mod expiry;
mod failures;
mod fate;
mod forwarding;
mod limits;
mod model;
mod model_transactions;
mod places;
mod sagas;
mod scenarios;
mod schedules;

use std::path::PathBuf;

use bytes::Bytes;
use tempfile::TempDir;

use super::{Limits, State};
use crate::apply::{Applied, Apply, Checkpoint as _};
use crate::command::{Batch, Command, Outcome, TopicId};
use crate::floor::{FloorFile, Floors};
use crate::place::Place;
use crate::queue_index::IndexEntry;
use crate::raft::LogId;

/// Entries by their index, as the write-ahead log would hold them.
#[derive(Clone, Debug, Default)]
pub(super) struct Entries {
    bodies: Vec<Bytes>,
}

impl Entries {
    pub(super) fn push(&mut self, stamp_ms: u64, commands: &[Command]) {
        self.bodies.push(Batch::encode(stamp_ms, commands));
    }

    pub(super) fn bytes(&self, entry: &IndexEntry) -> Bytes {
        self.at(entry.place, entry.length)
    }

    pub(super) fn at(&self, place: Place, length: u32) -> Bytes {
        let start = place.offset as usize;
        let body = &self.bodies[place.index as usize];
        body.slice(start..start + length as usize)
    }
}

/// A state machine with a directory of its own.
pub(super) struct Subject {
    pub(super) state: State,
    pub(super) entries: Entries,
    limits: Limits,
    directory: TempDir,
}

impl Subject {
    pub(super) fn new(limits: Limits) -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self {
            state: State::beginning_with(&directory.path().join("derived"), limits.clone())
                .unwrap(),
            entries: Entries::default(),
            limits,
            directory,
        }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.directory.path().join("derived")
    }

    /// Writes an entry and applies it.
    pub(super) fn submit(&mut self, stamp_ms: u64, commands: &[Command]) -> Vec<Outcome> {
        self.entries.push(stamp_ms, commands);
        self.apply(self.entries.bodies.len() - 1)
    }

    pub(super) fn one(&mut self, stamp_ms: u64, command: Command) -> Outcome {
        let mut outcomes = self.submit(stamp_ms, &[command]);
        assert_eq!(outcomes.len(), 1);
        outcomes.remove(0)
    }

    pub(super) fn apply(&mut self, index: usize) -> Vec<Outcome> {
        let entry = Applied {
            log_id: LogId::new(1.into(), index as u64),
            body: &self.entries.bodies[index],
        };
        self.state.apply(entry).unwrap()
    }

    pub(super) fn checkpoint(&mut self) {
        if let Some(checkpoint) = self.state.begin_checkpoint() {
            checkpoint.write(None).unwrap();
            self.state.end_checkpoint(true);
        }
    }

    /// A checkpoint with a floor checkpoint, and as of which entry that is.
    pub(super) fn checkpoint_with_floor(&mut self) -> Option<(u64, FloorFile)> {
        let checkpoint = self.state.begin_checkpoint()?;
        let index = checkpoint.applied().index;
        let floors = Floors::open(&self.directory.path().join("floors")).unwrap();
        checkpoint.write(Some(floors.new_floor(index))).unwrap();
        self.state.end_checkpoint(true);
        floors.written(index).unwrap();
        Some((index, floors.latest_upto(index).unwrap().unwrap()))
    }

    /// Another node that gets a floor checkpoint and all entries after it.
    pub(super) fn newcomer(&self, file: &FloorFile) -> Self {
        let mut newcomer = Self::new(self.limits.clone());
        // What was there before is gone afterwards.
        newcomer.submit(1, &[]);
        newcomer.entries = self.entries.clone();
        let import = newcomer.state.import();
        import(file.clone()).unwrap();
        newcomer.state.install().unwrap();
        let next = newcomer.state.applied().unwrap().index + 1;
        for index in next as usize..newcomer.entries.bodies.len() {
            newcomer.apply(index);
        }
        newcomer
    }

    /// Loses everything that is only in memory, and comes back through the log.
    pub(super) fn crash(self) -> Self {
        let Self {
            state,
            entries,
            limits,
            directory,
        } = self;
        drop(state);
        let state =
            State::beginning_with(&directory.path().join("derived"), limits.clone()).unwrap();
        let mut recovered = Self {
            state,
            entries,
            limits,
            directory,
        };
        let next = recovered.state.applied().map_or(0, |last| last.index + 1);
        for index in next as usize..recovered.entries.bodies.len() {
            recovered.apply(index);
        }
        recovered
    }

    pub(super) fn digest(&self) -> u128 {
        self.state.shared().digest().unwrap()
    }

    /// All messages of a topic, queue by queue.
    pub(super) fn visible(&self, topic: TopicId) -> Vec<Vec<Bytes>> {
        let shared = self.state.shared();
        let queues = shared.topic_by_id(topic).map_or(0, |topic| topic.queues);
        let queue = |queue| {
            let mut entries = Vec::new();
            shared
                .index(topic, queue, 0, usize::MAX, &mut entries)
                .unwrap();
            let offsets: Vec<_> = entries.iter().map(|entry| entry.offset).collect();
            let (first, next) = shared.queue_bounds(topic, queue).unwrap();
            assert_eq!(offsets, (first..next).collect::<Vec<_>>());
            entries
                .iter()
                .map(|entry| self.entries.bytes(entry))
                .collect()
        };
        (0..queues).map(queue).collect()
    }
}
