use outrigger_proto::v1;

/// How a local transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It committed: the messages are to be delivered.
    Commit,
    /// It rolled back: the messages are to be dropped.
    Rollback,
    /// Nothing is known yet. Never decides anything: the sidecar asks again later.
    Unknown,
}

impl From<Verdict> for v1::Verdict {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Commit => Self::Commit,
            Verdict::Rollback => Self::Rollback,
            Verdict::Unknown => Self::Unknown,
        }
    }
}
