use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    KeptBack, Options,
    authority::{Authority, BreakerState},
    endpoint::{Endpoint, Protocol},
};

/// The authorities that are known; a bounded number.
#[derive(Debug)]
pub(super) struct Authorities {
    options: Arc<Options>,
    known: Mutex<HashMap<Key, Known>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    protocol: Protocol,
    authority: Arc<str>,
}

#[derive(Debug)]
struct Known {
    authority: Arc<Authority>,
    used: Instant,
}

impl Known {
    /// Copies are made under the lock of the map alone, so that this one is the last.
    fn is_idle(&self) -> bool {
        Arc::strong_count(&self.authority) == 1
    }
}

/// How the authorities of one protocol are doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Census {
    /// By the state of their breakers, in the order of [`BreakerState::ALL`].
    pub(super) by_state: [usize; 3],
    /// Calls under way.
    pub(super) calling: usize,
    /// Calls that wait for their turn.
    pub(super) waiting: usize,
}

impl Authorities {
    pub(super) fn new(options: Arc<Options>) -> Self {
        Self {
            options,
            known: Mutex::default(),
        }
    }

    /// The authority of an endpoint, known or new.
    pub(super) fn of(&self, endpoint: &Endpoint) -> Result<Arc<Authority>, KeptBack> {
        let key = Key {
            protocol: endpoint.protocol(),
            authority: Arc::clone(endpoint.authority()),
        };
        let mut all = self.known();
        if let Some(known) = all.get_mut(&key) {
            known.used = Instant::now();
            return Ok(Arc::clone(&known.authority));
        }
        let limit = self.options.authorities_max.max(1);
        if all.len() >= limit && !forget_one(&mut all) {
            return Err(KeptBack::AuthoritiesFull { limit });
        }
        let authority = Arc::new(Authority::new(endpoint, &self.options));
        let known = Known {
            authority: Arc::clone(&authority),
            used: Instant::now(),
        };
        all.insert(key, known);
        Ok(authority)
    }

    /// The authority of an endpoint, if it is known.
    pub(super) fn known_of(&self, endpoint: &Endpoint) -> Option<Arc<Authority>> {
        let key = Key {
            protocol: endpoint.protocol(),
            authority: Arc::clone(endpoint.authority()),
        };
        let all = self.known();
        Some(Arc::clone(&all.get(&key)?.authority))
    }

    /// Forgets those that nobody has used for long.
    pub(super) fn forget_idle(&self) {
        let idle_for = Duration::from_millis(self.options.authority_idle_ms);
        self.known()
            .retain(|_, known| !known.is_idle() || known.used.elapsed() < idle_for);
    }

    pub(super) fn census(&self, protocol: Protocol) -> Census {
        let mut census = Census::default();
        for (key, known) in &*self.known() {
            if key.protocol != protocol {
                continue;
            }
            let state = known.authority.state();
            for (at, count) in BreakerState::ALL.iter().zip(&mut census.by_state) {
                *count += usize::from(*at == state);
            }
            census.calling += known.authority.calling();
            census.waiting += known.authority.waiting();
        }
        census
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Key, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes room: the one that was not used for longest goes. False if all are in use.
fn forget_one(all: &mut HashMap<Key, Known>) -> bool {
    let idle = all.iter().filter(|(_, known)| known.is_idle());
    let Some(key) = idle
        .min_by_key(|(_, known)| known.used)
        .map(|(key, _)| key.clone())
    else {
        return false;
    };
    all.remove(&key);
    true
}
