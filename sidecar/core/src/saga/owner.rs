//! Who may record events of a saga: the owner, by its epoch.

/// Who owns a saga, as it is recorded: an epoch that grows with every owner, and until when
/// nobody may take over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// The epoch of the present owner; 0 when there never was one.
    pub epoch: u64,
    /// The owner has said until when it counts as alive.
    pub until_ms: u64,
}

/// Why an owner may not do something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Somebody else has taken over. What the caller knows of the saga is out of date, and it
    /// must stop.
    #[error("epoch {epoch} is over, the saga is owned with epoch {recorded}")]
    Over {
        /// The caller's epoch.
        epoch: u64,
        /// The recorded one.
        recorded: u64,
    },
    /// Nobody was given this epoch.
    #[error("epoch {epoch} was never given, the saga is owned with epoch {recorded}")]
    NeverGiven {
        /// The caller's epoch.
        epoch: u64,
        /// The recorded one.
        recorded: u64,
    },
    /// The present owner counts as alive.
    #[error("the owner with epoch {epoch} counts as alive for {left_ms} ms more")]
    Alive {
        /// The owner's epoch.
        epoch: u64,
        /// How much longer.
        left_ms: u64,
    },
}

impl Lease {
    /// Nobody's.
    pub const FREE: Self = Self {
        epoch: 0,
        until_ms: 0,
    };

    /// Whether the caller with `epoch` may record events. The epoch alone decides, not the
    /// time: an owner that was silent for long and that nobody has replaced may go on.
    ///
    /// # Errors
    /// When it is not the recorded epoch.
    pub fn may_append(&self, epoch: u64) -> Result<(), Error> {
        let recorded = self.epoch;
        match epoch.cmp(&recorded) {
            std::cmp::Ordering::Less => Err(Error::Over { epoch, recorded }),
            std::cmp::Ordering::Equal if epoch == 0 => Err(Error::NeverGiven { epoch, recorded }),
            std::cmp::Ordering::Equal => Ok(()),
            std::cmp::Ordering::Greater => Err(Error::NeverGiven { epoch, recorded }),
        }
    }

    /// The owner with `epoch` says that it is alive. The lease never gets shorter.
    ///
    /// # Errors
    /// When it is not the owner any more.
    pub fn renewed(&self, epoch: u64, until_ms: u64) -> Result<Self, Error> {
        self.may_append(epoch)?;
        Ok(Self {
            epoch,
            until_ms: self.until_ms.max(until_ms),
        })
    }

    /// Somebody takes over, with the next epoch. `now_ms` is the log's time, the same on
    /// every replica.
    ///
    /// # Errors
    /// While the present owner counts as alive.
    pub fn taken_over(&self, now_ms: u64, until_ms: u64) -> Result<Self, Error> {
        if now_ms < self.until_ms {
            return Err(Error::Alive {
                epoch: self.epoch,
                left_ms: self.until_ms - now_ms,
            });
        }
        Ok(Self {
            epoch: self.epoch.saturating_add(1),
            until_ms,
        })
    }

    /// The owner with `epoch` gives the saga back: anybody may take over at once.
    ///
    /// # Errors
    /// When it is not the owner any more.
    pub fn given_back(&self, epoch: u64) -> Result<Self, Error> {
        self.may_append(epoch)?;
        Ok(Self { epoch, until_ms: 0 })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Error, Lease};

    proptest! {
        /// Of several processes that take over, renew and give back in any order, at most one
        /// may append at any time, and it is the last one that took over.
        #[test]
        fn one_owner_at_a_time(acts in prop::collection::vec((0..3_usize, 0..3_u8, 0..50_u64), 0..60)) {
            let mut lease = Lease::FREE;
            let mut epochs = [0_u64; 3];
            let mut owner = None;
            let mut now_ms = 1;
            for (who, act, passed_ms) in acts {
                now_ms += passed_ms;
                let next = match act {
                    0 => lease.taken_over(now_ms, now_ms + 30),
                    1 => lease.renewed(epochs[who], now_ms + 30),
                    _ => lease.given_back(epochs[who]),
                };
                match next {
                    Ok(next) if act == 0 => {
                        prop_assert!(now_ms >= lease.until_ms);
                        prop_assert!(next.epoch > lease.epoch);
                        (lease, epochs[who], owner) = (next, next.epoch, Some(who));
                    }
                    Ok(next) => {
                        prop_assert_eq!(owner, Some(who));
                        lease = next;
                    }
                    Err(Error::Alive { left_ms, .. }) => prop_assert!(left_ms > 0),
                    Err(Error::Over { .. } | Error::NeverGiven { .. }) => {
                        prop_assert_ne!(owner, Some(who));
                    }
                }
                for (who, epoch) in epochs.into_iter().enumerate() {
                    prop_assert_eq!(lease.may_append(epoch).is_ok(), owner == Some(who));
                }
            }
        }
    }
}
