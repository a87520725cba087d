use std::io;

/// Where the log does what blocks on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Blocking {
    /// On threads of their own.
    #[default]
    Threads,
    /// At once, on the thread that asks. Only for simulations, in which everything must happen
    /// in one order.
    Inline,
}

impl Blocking {
    /// Does something that blocks.
    pub(crate) async fn run<T: Send + 'static>(
        self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        match self {
            Self::Threads => tokio::task::spawn_blocking(work)
                .await
                .map_err(io::Error::other),
            Self::Inline => Ok(work()),
        }
    }
}
