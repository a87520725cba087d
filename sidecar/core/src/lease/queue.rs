use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{
    Candidate, Effect, Error, Event, Input, Lease, Options, Place, Progress, Receipt,
    message_groups::MessageGroups,
    slot::{Phase, Slot},
};

/// The leader's machine of one queue and one consumer group: who works on which message.
///
/// It promises: a message has at most one lease at a time; the messages of one message
/// group are delivered strictly one after the other, each only when the one before is
/// durably done; what was offered is delivered until it is acked or a dead letter.
///
/// Leases are not durable. A machine that starts anew, after a change of leadership or
/// after idling, begins with what [`Progress`] recorded, and still accepts the acks of
/// leases of its predecessors as long as their messages were not leased again.
#[derive(Debug)]
pub struct Queue {
    pub(super) place: Place,
    pub(super) options: Options,
    /// Lower nonces are from predecessors.
    pub(super) first_nonce: u64,
    pub(super) next_nonce: u64,
    /// Predecessors leased nothing at or above this offset.
    pub(super) former_end: u64,
    /// What was recorded about messages that are still to be offered.
    pub(super) recorded: Progress,
    /// Acks being recorded of messages that are still to be offered.
    pub(super) settling_ahead: BTreeMap<u64, u64>,
    pub(super) next_offer: u64,
    pub(super) slots: BTreeMap<u64, Slot>,
    pub(super) message_groups: MessageGroups,
    ready: Ready,
    /// (when, offset) of every slot with a timer.
    pub(super) timers: BTreeSet<(u64, u64)>,
    pub(super) pending: BTreeMap<u64, Pending>,
    pub(super) next_persist: u64,
    /// Acks of nobody's request whose recording failed, and when to try again.
    pub(super) unrecorded: Vec<Event>,
    pub(super) unrecorded_at_ms: u64,
}

/// Ready messages; entries whose slot is not [`Phase::Ready`] any more are passed over.
#[derive(Debug, Default)]
struct Ready {
    /// Never delivered by this machine; in order.
    fresh: VecDeque<u64>,
    /// Ready again; these go first.
    again: BTreeSet<u64>,
}

/// What is being recorded.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) events: Vec<Event>,
    pub(super) dead_letters: Vec<u64>,
    pub(super) reply: Option<Reply>,
}

#[derive(Debug)]
pub(super) struct Reply {
    pub(super) request: u64,
    pub(super) errors: Vec<(Receipt, super::ReceiptError)>,
}

impl Queue {
    /// A machine that continues from what is recorded.
    ///
    /// `end` is the offset of the next message that the queue will get: nothing from there
    /// on can have been leased before. `first_nonce` must be higher than every nonce of
    /// every predecessor, so it comes from a clock.
    #[must_use]
    pub fn new(
        place: Place,
        options: Options,
        progress: Progress,
        end: u64,
        first_nonce: u64,
    ) -> Self {
        // Nonce 0 means "never leased".
        let first_nonce = first_nonce.max(1);
        Self {
            place,
            options,
            first_nonce,
            next_nonce: first_nonce,
            former_end: end,
            next_offer: progress.floor(),
            recorded: progress,
            settling_ahead: BTreeMap::new(),
            slots: BTreeMap::new(),
            message_groups: MessageGroups::default(),
            ready: Ready::default(),
            timers: BTreeSet::new(),
            pending: BTreeMap::new(),
            next_persist: 0,
            unrecorded: Vec::new(),
            unrecorded_at_ms: 0,
        }
    }

    /// The offset that must be offered next.
    #[must_use]
    pub fn next_offer(&self) -> u64 {
        self.next_offer
    }

    /// How many messages may be offered.
    #[must_use]
    pub fn room(&self) -> usize {
        self.options.held_count_max.saturating_sub(self.slots.len())
    }

    /// How many messages could be leased now, at most.
    #[must_use]
    pub fn ready_at_most(&self) -> usize {
        self.ready.fresh.len() + self.ready.again.len()
    }

    /// True when nobody works on anything and nothing is being recorded: the machine can
    /// be dropped, and started anew later, without anybody noticing.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let busy = |slot: &Slot| match slot.phase {
            Phase::Leased { .. } | Phase::Settling { .. } => true,
            Phase::Blocked { .. } | Phase::Ready | Phase::Waiting { .. } => false,
        };
        self.pending.is_empty() && self.unrecorded.is_empty() && !self.slots.values().any(busy)
    }

    /// When to [`Input::Tick`] at the latest.
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        let timer = self.timers.first().map(|(at_ms, _)| *at_ms);
        let unrecorded = (!self.unrecorded.is_empty()).then_some(self.unrecorded_at_ms);
        timer.into_iter().chain(unrecorded).min()
    }

    /// Takes an input.
    ///
    /// # Errors
    /// When the driver is wrong; nothing changes then. A wrong receipt is no error here
    /// but is named in the reply.
    pub fn step(
        &mut self,
        now_ms: u64,
        input: Input<'_>,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Error> {
        self.run_timers(now_ms, effects);
        match input {
            Input::Offer(candidates) => return self.offer(now_ms, candidates, effects),
            Input::Skip { until } => self.skip(until, effects),
            Input::Receive { max, invisible_ms } => {
                self.receive(now_ms, max, invisible_ms, effects);
            }
            Input::Ack { request, receipts } => self.ack(request, receipts, effects),
            Input::Nack { request, nacks } => self.nack(now_ms, request, nacks, effects),
            Input::Extend { request, extends } => self.extend(now_ms, request, extends, effects),
            Input::Release(receipts) => self.release(receipts),
            Input::Persisted { id } => return self.persisted(now_ms, id, effects),
            Input::PersistFailed { id } => return self.persist_failed(now_ms, id, effects),
            Input::Tick => {}
        }
        Ok(())
    }

    fn offer(
        &mut self,
        now_ms: u64,
        candidates: &[Candidate],
        effects: &mut Vec<Effect>,
    ) -> Result<(), Error> {
        let limit = self.room();
        if candidates.len() > limit {
            let got = candidates.len();
            return Err(Error::NoRoom { got, limit });
        }
        for (candidate, expected) in candidates.iter().zip(self.next_offer..) {
            let got = candidate.offset;
            if got != expected {
                return Err(Error::NotContiguous { expected, got });
            }
        }
        let mut filtered_out = Vec::new();
        let mut dead_letters = Vec::new();
        for candidate in candidates {
            self.next_offer = candidate.offset + 1;
            if self.recorded.is_acked(candidate.offset) {
                continue;
            }
            match candidate.matches {
                true => self.hold(now_ms, candidate, &mut dead_letters),
                false => push_acked(&mut filtered_out, candidate.offset),
            }
        }
        self.persist(filtered_out, dead_letters, None, effects);
        Ok(())
    }

    fn hold(&mut self, now_ms: u64, candidate: &Candidate, dead_letters: &mut Vec<u64>) {
        let Candidate {
            offset, key_hash, ..
        } = *candidate;
        let retry = self.recorded.retry(offset);
        let visible_at_ms = retry.map_or(0, |retry| retry.visible_at_ms);
        let first = key_hash == 0 || self.message_groups.join(key_hash, offset);
        let mut slot = Slot {
            key_hash,
            nonce: 0,
            deliveries: retry.map_or(0, |retry| retry.attempt.saturating_sub(1)),
            phase: Phase::Blocked { visible_at_ms },
        };
        if let Some(persist) = self.settling_ahead.remove(&offset) {
            slot.phase = Phase::Settling { persist };
        }
        self.slots.insert(offset, slot);
        if first && slot.phase == (Phase::Blocked { visible_at_ms }) {
            self.take_turn(now_ms, offset, dead_letters);
        }
    }

    /// Retention took the messages below an offset: they are done, whatever they were.
    fn skip(&mut self, until: u64, effects: &mut Vec<Effect>) {
        let held = self.slots.first_key_value().map(|(offset, _)| *offset);
        let first = held.unwrap_or(self.next_offer).min(self.next_offer);
        let Some(last) = until.checked_sub(1).filter(|last| *last >= first) else {
            return;
        };
        self.next_offer = self.next_offer.max(until);
        let gone = Event::Acked { first, last };
        self.persist(vec![gone], Vec::new(), None, effects);
    }

    /// A blocked message that is first in its group now waits, is ready, or is dead.
    pub(super) fn take_turn(&mut self, now_ms: u64, offset: u64, dead_letters: &mut Vec<u64>) {
        let Some(slot) = self.slots.get_mut(&offset) else {
            return;
        };
        let Phase::Blocked { visible_at_ms } = slot.phase else {
            return;
        };
        if visible_at_ms > now_ms {
            slot.phase = Phase::Waiting { visible_at_ms };
            self.timers.insert((visible_at_ms, offset));
        } else if slot.deliveries >= self.options.max_attempts.max(1) {
            slot.phase = Phase::Settling {
                persist: self.next_persist,
            };
            dead_letters.push(offset);
        } else {
            slot.phase = Phase::Ready;
            match slot.nonce == 0 && self.ready.fresh.back().is_none_or(|last| *last < offset) {
                true => self.ready.fresh.push_back(offset),
                false => _ = self.ready.again.insert(offset),
            }
        }
    }

    fn receive(&mut self, now_ms: u64, max: usize, invisible_ms: u64, effects: &mut Vec<Effect>) {
        let deadline_ms = now_ms.saturating_add(invisible_ms);
        let mut given = 0;
        while given < max {
            let next = self.ready.again.pop_first();
            let Some(offset) = next.or_else(|| self.ready.fresh.pop_front()) else {
                return;
            };
            let Some(slot) = self.slots.get_mut(&offset) else {
                continue;
            };
            if slot.phase != Phase::Ready {
                continue;
            }
            given += 1;
            slot.nonce = self.next_nonce;
            self.next_nonce += 1;
            slot.deliveries = slot.deliveries.saturating_add(1);
            slot.phase = Phase::Leased { deadline_ms };
            self.timers.insert((deadline_ms, offset));
            effects.push(Effect::Deliver(Lease {
                receipt: Receipt {
                    place: self.place,
                    offset,
                    nonce: slot.nonce,
                    attempt: slot.deliveries,
                },
                deadline_ms,
            }));
        }
    }

    pub(super) fn make_ready_again(&mut self, offset: u64) {
        if let Some(slot) = self.slots.get_mut(&offset) {
            slot.phase = Phase::Ready;
            self.ready.again.insert(offset);
        }
    }

    fn run_timers(&mut self, now_ms: u64, effects: &mut Vec<Effect>) {
        if self.next_deadline().is_none_or(|at_ms| at_ms > now_ms) {
            return;
        }
        let mut events = Vec::new();
        let mut dead_letters = Vec::new();
        if self.unrecorded_at_ms <= now_ms {
            events = std::mem::take(&mut self.unrecorded);
        }
        while let Some((at_ms, offset)) = self.timers.pop_first() {
            if at_ms > now_ms {
                self.timers.insert((at_ms, offset));
                break;
            }
            self.timer_fired(now_ms, offset, &mut events, &mut dead_letters);
        }
        self.persist(events, dead_letters, None, effects);
    }

    /// A lease ran out, or a wait is over. An expired lease is ready at once: its time was
    /// wait enough.
    fn timer_fired(
        &mut self,
        now_ms: u64,
        offset: u64,
        events: &mut Vec<Event>,
        dead_letters: &mut Vec<u64>,
    ) {
        let Some(slot) = self.slots.get_mut(&offset) else {
            return;
        };
        if slot.deliveries >= self.options.max_attempts.max(1) {
            slot.phase = Phase::Settling {
                persist: self.next_persist,
            };
            dead_letters.push(offset);
            return;
        }
        if matches!(slot.phase, Phase::Leased { .. }) {
            events.push(Event::Retry {
                offset,
                attempt: slot.deliveries + 1,
                visible_at_ms: now_ms,
            });
        }
        self.make_ready_again(offset);
    }
}

/// Adds an offset, higher than all before, to a list of ranges.
pub(super) fn push_acked(events: &mut Vec<Event>, offset: u64) {
    if let Some(Event::Acked { last, .. }) = events.last_mut()
        && *last + 1 >= offset
    {
        *last = offset;
        return;
    }
    events.push(Event::Acked {
        first: offset,
        last: offset,
    });
}
