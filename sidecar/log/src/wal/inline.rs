//! The log without threads: whoever opened it does their work, step by step, and decides what
//! happens between two steps.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use super::disk::Disk;
use super::error::WalOpenError;
use super::log::Wal;
use super::shared::OnFatal;
use super::writer::Writer;
use super::{WalOptions, lock};
use crate::simulation::{Plant, is_planted};

/// The writer of a log without threads.
pub(super) struct Inline {
    writer: Writer,
    /// The segment that must be ready before more is written.
    needed: Option<u32>,
    /// What was written waits for its sync.
    unsynced: bool,
}

/// What a step of the writer came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// There was nothing to write, or nothing is written any more.
    Nothing,
    /// Something waits for a sync.
    Unsynced,
    /// The next segment is not ready.
    NoSegment,
}

impl Inline {
    pub(super) fn new(writer: Writer) -> Self {
        Self {
            writer,
            needed: None,
            unsynced: false,
        }
    }
}

impl Wal {
    /// Like [`Wal::open`], without threads.
    pub(crate) fn open_inline(
        directory: &Path,
        options: WalOptions,
        disk: Arc<dyn Disk>,
        on_fatal: OnFatal,
    ) -> Result<Self, WalOpenError> {
        let (mut wal, writer) = Self::recover(directory, options, disk, on_fatal)?;
        wal.inline = Some(Mutex::new(Inline::new(writer)));
        Ok(wal)
    }

    /// Writes what waits, up to the end of the segment.
    pub(crate) fn write_step(&self) -> Written {
        let Some(mut inline) = self.inline.as_ref().map(lock) else {
            return Written::Nothing;
        };
        if inline.unsynced {
            return Written::Unsynced;
        }
        if self.has_failed() {
            return Written::Nothing;
        }
        if let Some(segment) = inline.needed {
            let Some(file) = self.shared.preparer.try_take(segment) else {
                return Written::NoSegment;
            };
            inline.writer.begin_segment(segment, file);
            inline.needed = None;
        }
        if !inline.writer.take_what_waits() {
            return Written::Nothing;
        }
        if let Err(error) = inline.writer.write() {
            inline.writer.fail(&error);
            return Written::Nothing;
        }
        inline.unsynced = true;
        if is_planted(Plant::AckBeforeSync) {
            inline.needed = inline.writer.report().map(|sealed| sealed + 1);
        }
        Written::Unsynced
    }

    /// Syncs what the last step wrote, and tells everybody who waits for it.
    pub(crate) fn sync_step(&self) {
        let Some(mut inline) = self.inline.as_ref().map(lock) else {
            return;
        };
        if !std::mem::take(&mut inline.unsynced) {
            return;
        }
        if is_planted(Plant::AckBeforeSync) {
            if let Err(error) = inline.writer.sync_file() {
                inline.writer.fail(&error);
            }
            return;
        }
        match inline.writer.sync() {
            Ok(sealed) => inline.needed = sealed.map(|sealed| sealed + 1),
            Err(error) => inline.writer.fail(&error),
        }
    }

    /// Gives waiting commit positions their places, so that the next step writes them.
    pub(crate) fn lazy_step(&self) {
        self.shared.push_lazy(&mut lock(&self.shared.state));
    }

    /// Prepares the segments that are wanted.
    pub(crate) fn prepare_step(&self) {
        self.shared.preparer.prepare_ordered();
    }

    /// Writes and syncs all that waits.
    pub(super) fn finish_inline(&self) {
        if self.inline.is_none() {
            return;
        }
        self.lazy_step();
        loop {
            match self.write_step() {
                Written::Nothing => return,
                Written::Unsynced => self.sync_step(),
                Written::NoSegment => {
                    self.prepare_step();
                    if self.no_space() {
                        return self.stop_inline();
                    }
                }
            }
        }
    }

    fn stop_inline(&self) {
        if let Some(inline) = &self.inline {
            lock(inline).writer.stop(io::ErrorKind::StorageFull);
        }
    }
}
