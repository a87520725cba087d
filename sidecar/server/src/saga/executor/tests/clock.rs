use tokio::time::Instant;

/// What all clocks of a world begin with.
const BEGIN_MS: u64 = 1_000_000;

/// The time of a world, which is tokio's.
#[derive(Clone, Copy)]
pub(super) struct Clock(Instant);

impl Clock {
    pub(super) fn new() -> Self {
        Self(Instant::now())
    }

    pub(super) fn now_ms(self) -> u64 {
        BEGIN_MS + u64::try_from(self.0.elapsed().as_millis()).unwrap()
    }
}
