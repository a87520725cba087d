use super::{Error, Event, Input, State, Verdict};

/// One transaction, as far as deciding needs it: which content was prepared, and what
/// became of it. It is 32 bytes because one is kept for every unresolved transaction.
///
/// A record must outlive every repetition of its Prepare: a transaction that was forgotten
/// and is prepared again would be checked back on again, and delivered again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HalfMessage {
    fingerprint: u128,
    state: Option<State>,
}

impl HalfMessage {
    /// A transaction that nobody prepared.
    #[must_use]
    pub const fn absent() -> Self {
        Self {
            fingerprint: 0,
            state: None,
        }
    }

    /// A recorded transaction, read back.
    #[must_use]
    pub const fn recorded(fingerprint: u128, state: State) -> Self {
        Self {
            fingerprint,
            state: Some(state),
        }
    }

    /// What is recorded; nothing for a transaction that nobody prepared.
    #[must_use]
    pub const fn state(&self) -> Option<State> {
        self.state
    }

    /// The digest of the prepared content.
    #[must_use]
    pub const fn fingerprint(&self) -> u128 {
        self.fingerprint
    }

    /// Takes an input. `Some` is what changed; `None` means that the same had been
    /// recorded before, so that the caller is answered alike and nothing is done twice.
    ///
    /// # Errors
    /// When the input is not possible in this state; nothing changes then.
    pub fn step(&mut self, input: Input) -> Result<Option<Event>, Error> {
        let event = self.decide(input)?;
        if let Some(event) = &event {
            self.apply(event);
        }
        Ok(event)
    }

    /// Takes a recorded change.
    pub fn apply(&mut self, event: &Event) {
        let state = match *event {
            Event::Prepared { fingerprint } => {
                self.fingerprint = fingerprint;
                State::Prepared
            }
            Event::Resolved {
                verdict: Verdict::Commit,
            } => State::Committed,
            Event::Resolved {
                verdict: Verdict::Rollback,
            } => State::RolledBack,
            Event::Parked => State::Parked,
            Event::Resumed => State::Prepared,
        };
        self.state = Some(state);
    }

    /// Says which input is possible in which state.
    fn decide(&self, input: Input) -> Result<Option<Event>, Error> {
        let Some(state) = self.state else {
            return match input {
                Input::Prepare { fingerprint } => Ok(Some(Event::Prepared { fingerprint })),
                Input::Resolve { .. } | Input::Park | Input::Decide { .. } | Input::Resume => {
                    Err(Error::NotFound)
                }
            };
        };
        match (state, input) {
            (_, Input::Prepare { fingerprint }) if fingerprint == self.fingerprint => Ok(None),
            (_, Input::Prepare { .. }) => Err(Error::ContentDiffers),
            (
                State::Prepared | State::Parked,
                Input::Resolve { verdict } | Input::Decide { verdict },
            ) => Ok(Some(Event::Resolved { verdict })),
            (State::Committed, Input::Resolve { verdict } | Input::Decide { verdict }) => {
                repeated(Verdict::Commit, verdict)
            }
            (State::RolledBack, Input::Resolve { verdict } | Input::Decide { verdict }) => {
                repeated(Verdict::Rollback, verdict)
            }
            (State::Prepared, Input::Park) => Ok(Some(Event::Parked)),
            (State::Parked, Input::Park) => Ok(None),
            (State::Committed, Input::Park) => Err(Error::AlreadyResolved {
                recorded: Verdict::Commit,
            }),
            (State::RolledBack, Input::Park) => Err(Error::AlreadyResolved {
                recorded: Verdict::Rollback,
            }),
            (State::Parked, Input::Resume) => Ok(Some(Event::Resumed)),
            (State::Prepared | State::Committed | State::RolledBack, Input::Resume) => {
                Err(Error::NotParked { state })
            }
        }
    }
}

fn repeated(recorded: Verdict, requested: Verdict) -> Result<Option<Event>, Error> {
    if recorded == requested {
        return Ok(None);
    }
    Err(Error::Contradiction {
        recorded,
        requested,
    })
}
