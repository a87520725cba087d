use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use super::{Options, sagas::Hold};
use crate::saga::participant::Endpoint;

/// What fails together: a host and port, and the protocol.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LaneKey {
    authority: Arc<str>,
    is_grpc: bool,
}

impl LaneKey {
    pub(super) fn of(endpoint: &Endpoint) -> Self {
        Self {
            authority: Arc::clone(endpoint.authority()),
            is_grpc: endpoint.is_grpc(),
        }
    }
}

/// The ways to participants. Each has room for so many calls at once, and sagas that wait for
/// it, the oldest first.
pub(super) struct Lanes {
    lanes: BTreeMap<LaneKey, Lane>,
    /// Lanes that are closed for a time.
    opening: BTreeSet<(u64, LaneKey)>,
    /// Lanes that have room while all of them together have none.
    crowded_out: BTreeSet<LaneKey>,
    under_way: usize,
    waiting: usize,
    calls_max: usize,
    calls_per_lane_max: usize,
}

struct Lane {
    endpoint: Endpoint,
    under_way: usize,
    /// Sagas that were woken up for it and have not called yet.
    waking: usize,
    waiting: BTreeSet<Hold>,
    closed_until_ms: Option<u64>,
    /// It was closed, and nobody has come through since.
    is_cautious: bool,
}

impl Lane {
    fn is_idle(&self) -> bool {
        let busy = self.under_way > 0 || self.waking > 0 || !self.waiting.is_empty();
        !busy && self.closed_until_ms.is_none() && !self.is_cautious
    }
}

impl Lanes {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            lanes: BTreeMap::new(),
            opening: BTreeSet::new(),
            crowded_out: BTreeSet::new(),
            under_way: 0,
            waiting: 0,
            calls_max: options.calls_max.max(1),
            calls_per_lane_max: options.calls_per_lane_max.max(1),
        }
    }

    /// Calls under way in all lanes.
    pub(super) fn under_way(&self) -> usize {
        self.under_way
    }

    /// Sagas that wait, in all lanes.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Whether a call may go out there now. `kept_back_for` says whether the caller would try.
    pub(super) fn has_room(
        &mut self,
        key: &LaneKey,
        endpoint: &Endpoint,
        now_ms: u64,
        kept_back_for: impl FnOnce() -> Option<Duration>,
    ) -> bool {
        let lane = self.lanes.entry(key.clone()).or_insert_with(|| Lane {
            endpoint: endpoint.clone(),
            under_way: 0,
            waking: 0,
            waiting: BTreeSet::new(),
            closed_until_ms: None,
            is_cautious: false,
        });
        if lane.closed_until_ms.is_some() {
            return false;
        }
        let limit = match lane.is_cautious {
            true => 1,
            false => self.calls_per_lane_max,
        };
        if lane.under_way + lane.waking >= limit {
            return false;
        }
        if self.under_way >= self.calls_max {
            self.crowded_out.insert(key.clone());
            return false;
        }
        match kept_back_for() {
            Some(wait) => {
                self.close(key, now_ms, wait);
                false
            }
            None => true,
        }
    }

    /// Nothing comes through for a time.
    pub(super) fn close(&mut self, key: &LaneKey, now_ms: u64, wait: Duration) {
        let Some(lane) = self.lanes.get_mut(key) else {
            return;
        };
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1);
        let until_ms = now_ms.saturating_add(wait_ms);
        if let Some(before_ms) = lane.closed_until_ms.replace(until_ms) {
            self.opening.remove(&(before_ms, key.clone()));
        }
        lane.is_cautious = true;
        self.opening.insert((until_ms, key.clone()));
    }

    /// A lane that may open now.
    pub(super) fn open_next(&mut self, now_ms: u64) -> Option<LaneKey> {
        let (at_ms, _) = self.opening.first()?;
        if *at_ms > now_ms {
            return None;
        }
        let (_, key) = self.opening.pop_first()?;
        if let Some(lane) = self.lanes.get_mut(&key) {
            lane.closed_until_ms = None;
        }
        Some(key)
    }

    pub(super) fn next_opening_ms(&self) -> Option<u64> {
        self.opening.first().map(|(at_ms, _)| *at_ms)
    }

    pub(super) fn begin(&mut self, key: &LaneKey) {
        if let Some(lane) = self.lanes.get_mut(key) {
            lane.under_way += 1;
            self.under_way += 1;
        }
    }

    /// A call has ended; `reached`: somebody has answered it.
    pub(super) fn end(&mut self, key: &LaneKey, reached: bool) {
        if let Some(lane) = self.lanes.get_mut(key) {
            lane.under_way = lane.under_way.saturating_sub(1);
            lane.is_cautious &= !reached;
            self.under_way = self.under_way.saturating_sub(1);
        }
    }

    pub(super) fn enqueue(&mut self, key: &LaneKey, hold: Hold) {
        if let Some(lane) = self.lanes.get_mut(key) {
            self.waiting += usize::from(lane.waiting.insert(hold));
        }
    }

    pub(super) fn leave(&mut self, key: &LaneKey, hold: Hold) {
        if let Some(lane) = self.lanes.get_mut(key) {
            self.waiting -= usize::from(lane.waiting.remove(&hold));
        }
    }

    pub(super) fn waiting_in(&self, key: &LaneKey) -> usize {
        self.lanes.get(key).map_or(0, |lane| lane.waiting.len())
    }

    pub(super) fn endpoint(&self, key: &LaneKey) -> Option<Endpoint> {
        Some(self.lanes.get(key)?.endpoint.clone())
    }

    /// The one that has waited for longest leaves.
    pub(super) fn pop(&mut self, key: &LaneKey) -> Option<Hold> {
        let hold = self.lanes.get_mut(key)?.waiting.pop_first()?;
        self.waiting -= 1;
        Some(hold)
    }

    pub(super) fn keep_place(&mut self, key: &LaneKey) {
        if let Some(lane) = self.lanes.get_mut(key) {
            lane.waking += 1;
        }
    }

    pub(super) fn give_place_back(&mut self, key: &LaneKey) {
        if let Some(lane) = self.lanes.get_mut(key) {
            lane.waking = lane.waking.saturating_sub(1);
        }
    }

    /// Forgets it if nothing is to be remembered.
    pub(super) fn tidy(&mut self, key: &LaneKey) {
        if self.lanes.get(key).is_some_and(Lane::is_idle) {
            self.lanes.remove(key);
        }
    }

    /// There is no room in any.
    pub(super) fn is_crowded(&self) -> bool {
        self.under_way >= self.calls_max
    }

    /// A lane that was held up by the others, if there is room now.
    pub(super) fn next_crowded_out(&mut self) -> Option<LaneKey> {
        (!self.is_crowded())
            .then(|| self.crowded_out.pop_first())
            .flatten()
    }
}
