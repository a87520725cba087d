/// How leaders are asked for sagas.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// How long a call may take, finding the leader included. Default 10,000.
    pub(crate) call_ms_max: u64,
    /// Commands go out in calls of about so many bytes; a larger one goes alone. Default 4 MiB.
    pub(crate) call_bytes: usize,
    /// Definitions that are kept here so that they need not be asked for. Default 1,024.
    pub(crate) definitions_max: usize,
    /// Their bytes. Default 32 MiB.
    pub(crate) definitions_bytes_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            call_ms_max: 10_000,
            call_bytes: 4 << 20,
            definitions_max: 1_024,
            definitions_bytes_max: 32 << 20,
        }
    }
}
