use bytes::Bytes;

use super::{Input, Mode, Outcome};
use crate::limits::GUARD_FENCING_KEPT_MS;

/// The record of one key. The default is that of a key never seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Record {
    /// The number of the latest holder; 0 before the first.
    pub(super) fencing: u64,
    /// When the fencing number may be forgotten.
    pub(super) fencing_kept_until_ms: u64,
    pub(super) hold: Hold,
    pub(super) counter: Option<Counter>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Hold {
    #[default]
    Absent,
    InProgress(InProgress),
    Done(Done),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct InProgress {
    pub(super) mode: Mode,
    pub(super) token: String,
    pub(super) fingerprint: Bytes,
    pub(super) deadline_ms: u64,
    pub(super) takeover: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Done {
    /// Who completed it, so that a repeated Complete is answered alike.
    pub(super) token: String,
    pub(super) fingerprint: Bytes,
    pub(super) result: Bytes,
    pub(super) expires_at_ms: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counter {
    pub(super) count: u64,
    pub(super) expires_at_ms: u64,
}

impl Record {
    /// Takes an input. `now_ms` never runs backwards.
    pub fn step(&mut self, now_ms: u64, input: Input) -> Outcome {
        self.expire(now_ms);
        match input {
            Input::Acquire {
                mode,
                token,
                fingerprint,
                lease_ms,
            } => {
                let fingerprint = match mode {
                    Mode::Record => fingerprint,
                    Mode::SetNx => Bytes::new(),
                };
                let wanted = InProgress {
                    mode,
                    token,
                    fingerprint,
                    deadline_ms: now_ms.saturating_add(lease_ms),
                    takeover: false,
                };
                self.acquire(now_ms, wanted)
            }
            Input::Extend { token, lease_ms } => self.extend(now_ms, &token, lease_ms),
            Input::Complete {
                token,
                result,
                ttl_ms,
            } => self.complete(now_ms, token, result, ttl_ms),
            Input::Release { token } => self.release(now_ms, &token),
            Input::Increment { ttl_ms } => self.increment(now_ms, ttl_ms),
        }
    }

    /// From when on the record holds nothing and may be dropped. The fencing number is
    /// kept longer than any lease, so that an old holder never has the higher one.
    #[must_use]
    pub fn expires_at_ms(&self) -> u64 {
        let hold_ms = match &self.hold {
            // The fencing number outlives the deadline anyway.
            Hold::Absent | Hold::InProgress(_) => 0,
            Hold::Done(done) => done.expires_at_ms,
        };
        let counter_ms = self.counter.map_or(0, |counter| counter.expires_at_ms);
        self.fencing_kept_until_ms.max(hold_ms).max(counter_ms)
    }

    fn expire(&mut self, now_ms: u64) {
        if let Hold::Done(done) = &self.hold
            && done.expires_at_ms <= now_ms
        {
            self.hold = Hold::Absent;
        }
        if self.counter.is_some_and(|c| c.expires_at_ms <= now_ms) {
            self.counter = None;
        }
        // An abandoned lease, too, ends with its fencing number: whether a record was
        // dropped when it expired makes no difference to anybody.
        if self.fencing_kept_until_ms <= now_ms && !matches!(self.hold, Hold::Done(_)) {
            self.hold = Hold::Absent;
            self.fencing = 0;
        }
    }

    fn acquire(&mut self, now_ms: u64, mut wanted: InProgress) -> Outcome {
        match &mut self.hold {
            Hold::Absent => {}
            Hold::Done(done) if differ(&done.fingerprint, &wanted.fingerprint) => {
                return Outcome::Mismatch;
            }
            Hold::Done(done) => {
                let result = done.result.clone();
                return Outcome::Done { result };
            }
            Hold::InProgress(held) if differ(&held.fingerprint, &wanted.fingerprint) => {
                return Outcome::Mismatch;
            }
            Hold::InProgress(held) if held.token == wanted.token => {
                held.deadline_ms = held.deadline_ms.max(wanted.deadline_ms);
                let takeover = held.takeover;
                self.keep_fencing_after(wanted.deadline_ms);
                return Outcome::Acquired {
                    fencing: self.fencing,
                    takeover,
                };
            }
            Hold::InProgress(held) if held.deadline_ms > now_ms => {
                return Outcome::Busy {
                    retry_after_ms: held.deadline_ms - now_ms,
                };
            }
            Hold::InProgress(held) => {
                wanted.takeover = true;
                if wanted.fingerprint.is_empty() {
                    wanted.fingerprint = std::mem::take(&mut held.fingerprint);
                }
            }
        }
        self.fencing += 1;
        self.keep_fencing_after(wanted.deadline_ms);
        let takeover = wanted.takeover;
        self.hold = Hold::InProgress(wanted);
        Outcome::Acquired {
            fencing: self.fencing,
            takeover,
        }
    }

    fn extend(&mut self, now_ms: u64, token: &str, lease_ms: u64) -> Outcome {
        let deadline_ms = now_ms.saturating_add(lease_ms);
        match &mut self.hold {
            // Past its deadline, too: nobody took over, so the token is still the holder.
            Hold::InProgress(held) if held.token == token => {
                held.deadline_ms = deadline_ms;
                self.keep_fencing_after(deadline_ms);
                Outcome::Held
            }
            Hold::InProgress(_) | Hold::Absent | Hold::Done(_) => Outcome::Lost,
        }
    }

    fn complete(&mut self, now_ms: u64, token: String, result: Bytes, ttl_ms: u64) -> Outcome {
        match &mut self.hold {
            Hold::InProgress(held) if held.token == token => {
                let result = match held.mode {
                    Mode::Record => result,
                    Mode::SetNx => Bytes::new(),
                };
                let fingerprint = std::mem::take(&mut held.fingerprint);
                self.hold = Hold::Done(Done {
                    token,
                    fingerprint,
                    result,
                    expires_at_ms: now_ms.saturating_add(ttl_ms),
                });
                self.keep_fencing_after(now_ms);
                Outcome::Held
            }
            // A repeated call; the first one's result and ttl stand.
            Hold::Done(done) if done.token == token => Outcome::Held,
            Hold::InProgress(_) | Hold::Absent | Hold::Done(_) => Outcome::Lost,
        }
    }

    fn release(&mut self, now_ms: u64, token: &str) -> Outcome {
        match &self.hold {
            Hold::InProgress(held) if held.token == token => {
                self.hold = Hold::Absent;
                self.keep_fencing_after(now_ms);
                Outcome::Held
            }
            Hold::InProgress(_) | Hold::Absent | Hold::Done(_) => Outcome::Lost,
        }
    }

    fn increment(&mut self, now_ms: u64, ttl_ms: u64) -> Outcome {
        let count = self.counter.map_or(0, |counter| counter.count) + 1;
        self.counter = Some(Counter {
            count,
            expires_at_ms: now_ms.saturating_add(ttl_ms),
        });
        Outcome::Count(count)
    }

    fn keep_fencing_after(&mut self, last_held_ms: u64) {
        let until_ms = last_held_ms.saturating_add(GUARD_FENCING_KEPT_MS);
        self.fencing_kept_until_ms = self.fencing_kept_until_ms.max(until_ms);
    }
}

/// An empty fingerprint on either side turns the comparison off.
fn differ(kept: &Bytes, asked: &Bytes) -> bool {
    !kept.is_empty() && !asked.is_empty() && kept != asked
}
