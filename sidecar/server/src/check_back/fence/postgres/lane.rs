use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::Mutex;

use super::{super::super::Undecided, options::PostgresOptions, session::Session};

/// A place for one connection, made when it is needed and again when it was lost.
pub(super) struct Lane {
    options: Arc<PostgresOptions>,
    lock_timeout_ms: u64,
    state: Mutex<State>,
}

enum State {
    Idle,
    Connected(Arc<Session>),
    /// Nobody tries again before the pause is over: thousands may be waiting here, and
    /// each of them would wait for another connection attempt.
    Failed {
        at: Instant,
        error: Undecided,
    },
}

impl Lane {
    pub(super) fn new(options: Arc<PostgresOptions>, lock_timeout_ms: u64) -> Self {
        Self {
            options,
            lock_timeout_ms,
            state: Mutex::new(State::Idle),
        }
    }

    /// The connection, made now if there is none.
    pub(super) async fn session(&self) -> Result<Arc<Session>, Undecided> {
        let pause = Duration::from_millis(self.options.reconnect_pause_ms);
        let mut state = self.state.lock().await;
        match &*state {
            State::Connected(session) if session.is_usable() => return Ok(Arc::clone(session)),
            State::Failed { at, error } if at.elapsed() < pause => return Err(error.clone()),
            State::Idle | State::Connected(_) | State::Failed { .. } => {}
        }
        match Session::connect(Arc::clone(&self.options), self.lock_timeout_ms).await {
            Ok(session) => {
                let session = Arc::new(session);
                *state = State::Connected(Arc::clone(&session));
                Ok(session)
            }
            Err(error) => {
                *state = State::Failed {
                    at: Instant::now(),
                    error: error.clone(),
                };
                Err(error)
            }
        }
    }

    /// Drops a connection that does not answer.
    pub(super) async fn forget(&self, session: &Arc<Session>) {
        let mut state = self.state.lock().await;
        if matches!(&*state, State::Connected(current) if Arc::ptr_eq(current, session)) {
            *state = State::Idle;
        }
    }
}
