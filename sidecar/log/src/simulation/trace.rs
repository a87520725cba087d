use std::fmt::{self, Write};

use xxhash_rust::xxh3::Xxh3;

/// What happened, in order: always as a hash, and as text when that was asked for.
#[derive(Default)]
pub struct Trace {
    now_ms: u64,
    hash: Xxh3,
    line: String,
    kept: Option<String>,
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trace")
            .field("now_ms", &self.now_ms)
            .finish_non_exhaustive()
    }
}

impl Trace {
    pub(super) fn new(keep: bool) -> Self {
        Self {
            kept: keep.then(String::new),
            ..Self::default()
        }
    }

    pub(super) fn set_time(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
    }

    /// Takes note of something.
    pub fn note(&mut self, what: fmt::Arguments<'_>) {
        self.line.clear();
        // Writing to a string does not fail.
        let _ = writeln!(self.line, "{:>7} {what}", self.now_ms);
        self.hash.update(self.line.as_bytes());
        if let Some(kept) = &mut self.kept {
            kept.push_str(&self.line);
        }
    }

    /// A hash of everything so far.
    #[must_use]
    pub fn digest(&self) -> u128 {
        self.hash.digest128()
    }

    /// Everything so far, when it was kept.
    #[must_use]
    pub fn text(&self) -> &str {
        self.kept.as_deref().unwrap_or_default()
    }
}
