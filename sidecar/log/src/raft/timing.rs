use std::time::Duration;

/// How soon nodes act on what they do not hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timing {
    /// How often a leader is heard.
    pub(crate) heartbeat_interval_ms: u64,
    /// How long a node waits for a leader before it stands for election, at least; at most twice
    /// as long.
    pub(crate) election_timeout_ms: u64,
}

impl Timing {
    pub(super) fn election_timeout_ms_max(self) -> u64 {
        self.election_timeout_ms * 2
    }

    /// How long after a majority was heard a leader may answer for it. The others refuse every
    /// other leader for twice the election timeout, counted from when they heard, while the
    /// leader counts from when it asked; the rest is for clocks that do not run alike.
    pub(super) fn lease(self) -> Duration {
        Duration::from_millis(self.election_timeout_ms * 3 / 4)
    }

    /// How long a node that was restarted votes for nobody, longer than a lease. Before, it may
    /// have told a leader that it follows, and that leader counts on it; it does not remember
    /// when.
    pub(super) fn silence(self) -> Duration {
        Duration::from_millis(self.election_timeout_ms)
    }

    /// A leader that has heard of no majority for twice the election timeout sends no heartbeats
    /// for so long, and then again, in turns. Those who hear it wait twice the election timeout
    /// after its last one, and up to twice as long again, before they stand for election, so
    /// they do within six election timeouts of when the leader was last answered; by then it is
    /// still silent.
    pub(super) fn silence_without_quorum_ms(self) -> u64 {
        self.election_timeout_ms * 6
    }

    /// A leader that has heard of no majority for so long leads nobody: by now the others have
    /// another leader, or will have one soon.
    pub(super) fn quorum_lost(self) -> Duration {
        Duration::from_millis(self.election_timeout_ms * 5)
    }
}
