//! How full the disk is, and what follows from it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::submit::SubmitError;

/// From which part of the disk on what is done, in percent; above 100 is never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DiskLimits {
    /// Somebody should look.
    pub(crate) warn_percent: u64,
    /// What has been consumed goes before its time.
    pub(crate) expire_percent: u64,
    /// New messages are refused.
    pub(crate) refuse_percent: u64,
}

/// The file system that the log is on.
#[derive(Debug)]
pub(crate) struct DiskWatch {
    path: PathBuf,
    limits: DiskLimits,
    used_bytes: AtomicU64,
    total_bytes: AtomicU64,
}

impl DiskWatch {
    pub(crate) fn new(path: &Path, limits: DiskLimits) -> Self {
        Self {
            path: path.to_owned(),
            limits,
            used_bytes: AtomicU64::new(0),
            total_bytes: AtomicU64::new(0),
        }
    }

    /// Looks how full it is now. What only the administrator may use counts as used by nobody.
    pub(crate) fn look(&self) -> io::Result<()> {
        let found = rustix::fs::statvfs(&self.path)?;
        let used = found.f_blocks.saturating_sub(found.f_bfree) * found.f_frsize;
        self.observe(used, used + found.f_bavail * found.f_frsize);
        Ok(())
    }

    fn observe(&self, used_bytes: u64, total_bytes: u64) {
        let before = self.used_percent();
        self.used_bytes.store(used_bytes, Ordering::Relaxed);
        self.total_bytes.store(total_bytes, Ordering::Relaxed);
        let used_percent = self.used_percent();
        let limits = self.limits;
        let marks = [
            limits.warn_percent,
            limits.expire_percent,
            limits.refuse_percent,
        ];
        let passed = |mark: &u64| before < *mark && *mark <= used_percent;
        if let Some(mark) = marks.into_iter().filter(passed).max() {
            tracing::warn!(used_percent, mark, path = %self.path.display(), "the disk fills up");
        }
    }

    /// How much is used, in percent.
    pub(crate) fn used_percent(&self) -> u64 {
        let total = self.total_bytes.load(Ordering::Relaxed).max(1);
        let used = u128::from(self.used_bytes.load(Ordering::Relaxed));
        (used * 100 / u128::from(total)) as u64
    }

    /// How much should go before its time.
    pub(crate) fn over_bytes(&self) -> u64 {
        let total = u128::from(self.total_bytes.load(Ordering::Relaxed));
        let limit = total * u128::from(self.limits.expire_percent) / 100;
        let used = u128::from(self.used_bytes.load(Ordering::Relaxed));
        used.saturating_sub(limit) as u64
    }

    /// Why new messages are not taken.
    pub(crate) fn refusal(&self) -> Option<SubmitError> {
        let (used_percent, limit_percent) = (self.used_percent(), self.limits.refuse_percent);
        (used_percent >= limit_percent).then_some(SubmitError::DiskAlmostFull {
            used_percent,
            limit_percent,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mark_has_its_effect() {
        let limits = DiskLimits {
            warn_percent: 75,
            expire_percent: 85,
            refuse_percent: 90,
        };
        let watch = DiskWatch::new(Path::new("/"), limits);
        assert_eq!(watch.refusal(), None);
        let at = |used| {
            watch.observe(used, 1_000);
            (
                watch.used_percent(),
                watch.over_bytes(),
                watch.refusal().is_some(),
            )
        };
        assert_eq!(at(849), (84, 0, false));
        assert_eq!(at(870), (87, 20, false));
        assert_eq!(at(899), (89, 49, false));
        assert_eq!(at(900), (90, 50, true));
        assert_eq!(at(800), (80, 0, false));
        watch.look().unwrap();
        assert!(watch.used_percent() <= 100);
    }
}
