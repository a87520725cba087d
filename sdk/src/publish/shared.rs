use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::{
    sync::{Notify, Semaphore},
    time::Instant,
};

use super::{
    OPERATION_COST_BYTES_MIN, PublishOptions,
    buffer::{Buffer, Finished},
};

/// What callers, the current stream and the driver share.
pub(super) struct Shared {
    buffer: Mutex<Buffer>,
    /// Bytes that may still come into flight.
    pub(super) room: Semaphore,
    /// All of it.
    pub(super) room_bytes: usize,
    /// Tells the driver that there is work while no stream is open, or that the client was
    /// closed.
    pub(super) attention: Notify,
}

impl Shared {
    pub(super) fn new(options: &PublishOptions) -> Self {
        let room_bytes = options
            .in_flight_bytes_max
            .clamp(OPERATION_COST_BYTES_MIN, u32::MAX as usize);
        Self {
            buffer: Mutex::new(Buffer::new(options.clone())),
            room: Semaphore::new(room_bytes),
            room_bytes,
            attention: Notify::new(),
        }
    }

    pub(super) fn buffer(&self) -> MutexGuard<'_, Buffer> {
        // Nothing in the buffer can panic half-way through a change.
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the callers, and lets others in.
    pub(super) fn finish(&self, finished: Finished) {
        for (frame, outcome) in finished {
            match outcome {
                Ok(outcomes) => frame.completion.answer(outcomes),
                Err(error) => frame.completion.fail(error),
            }
            self.room.add_permits(frame.cost_bytes);
        }
    }

    pub(super) fn expire(&self, cause: &str) {
        let finished = self.buffer().expire(Instant::now(), cause);
        self.finish(finished);
    }
}
