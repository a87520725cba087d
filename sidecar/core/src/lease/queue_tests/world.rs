//! An observer who knows only what the outside can see.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;

use super::super::{
    Candidate, Effect, Event, Extend, Input, Lease, Nack, Options, Place, Progress, Queue, Receipt,
    ReceiptError,
};
use super::Step;

const MAX_ATTEMPTS: u32 = 3;
pub(super) const RETRY_DELAY_MS: u64 = 20;

pub(super) struct World {
    pub(super) messages: Vec<Candidate>,
    pub(super) queue: Queue,
    pub(super) now_ms: u64,
    term: u64,
    /// What the log recorded.
    durable: Progress,
    dead_letters: BTreeSet<u64>,
    recording: VecDeque<(u64, Vec<Event>, Vec<u64>)>,
    /// Every lease ever seen by a consumer, and the latest of each message.
    pub(super) leases: Vec<Receipt>,
    pub(super) latest: BTreeMap<u64, Held>,
    deliveries: BTreeMap<u64, u32>,
    /// Messages that a consumer tried to ack with a receipt that may be valid.
    acked: BTreeSet<u64>,
    requests: BTreeMap<u64, Request>,
    next_request: u64,
}

pub(super) struct Held {
    receipt: Receipt,
    deadline_ms: u64,
    /// False once its holder, or this leader, gave it up.
    pub(super) held: bool,
}

enum Request {
    Ack(Vec<(Receipt, Expected)>),
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    Accepted,
    Stale,
    Either,
}

pub(super) type Checked = Result<(), TestCaseError>;

impl World {
    pub(super) fn new(messages: Vec<(u64, bool)>) -> Self {
        let messages: Vec<Candidate> = (0..)
            .zip(messages)
            .map(|(offset, (key_hash, matches))| Candidate {
                offset,
                key_hash,
                matches,
            })
            .collect();
        let queue = new_queue(1, 1, Progress::default(), messages.len());
        Self {
            messages,
            queue,
            now_ms: 1_000,
            term: 1,
            durable: Progress::default(),
            dead_letters: BTreeSet::new(),
            recording: VecDeque::new(),
            leases: Vec::new(),
            latest: BTreeMap::new(),
            deliveries: BTreeMap::new(),
            acked: BTreeSet::new(),
            requests: BTreeMap::new(),
            next_request: 0,
        }
    }

    pub(super) fn run(&mut self, step: Step) -> Checked {
        match step {
            Step::Offer(count) => self.offer(count),
            Step::Receive { max, invisible_ms } => self.input(Input::Receive { max, invisible_ms }),
            Step::Ack(picks) => self.ack(&picks),
            Step::Nack(pick, delay_ms) => self.nack(&pick, delay_ms),
            Step::Extend(pick, invisible_ms) => self.extend(&pick, invisible_ms),
            Step::ReleaseLast => self.release_last(),
            Step::Persisted => self.persisted(),
            Step::PersistFailed { applied } => self.persist_failed(applied),
            Step::Wait(ms) => {
                self.now_ms += ms;
                self.input(Input::Tick)
            }
            Step::NewLeader {
                recorded,
                same_term,
            } => {
                self.new_leader(&recorded, same_term);
                Ok(())
            }
        }
    }

    pub(super) fn input(&mut self, input: Input<'_>) -> Checked {
        let mut effects = Vec::new();
        let stepped = self.queue.step(self.now_ms, input, &mut effects);
        prop_assert_eq!(stepped, Ok(()));
        effects.into_iter().try_for_each(|effect| self.see(effect))
    }

    pub(super) fn offer(&mut self, count: usize) -> Checked {
        let from = self.queue.next_offer() as usize;
        let until = (from + count.min(self.queue.room())).min(self.messages.len());
        let offered: Vec<Candidate> = self.messages[from.min(until)..until].to_vec();
        self.input(Input::Offer(&offered))
    }

    fn request(&mut self, request: Request) -> u64 {
        self.next_request += 1;
        self.requests.insert(self.next_request, request);
        self.next_request
    }

    fn ack(&mut self, picks: &[prop::sample::Index]) -> Checked {
        if self.leases.is_empty() {
            return Ok(());
        }
        let receipts: Vec<Receipt> = picks.iter().map(|i| *i.get(&self.leases)).collect();
        // Leases that run out right now do so before the ack.
        self.input(Input::Tick)?;
        let expected = receipts.iter().map(|r| (*r, self.expected(r))).collect();
        for receipt in &receipts {
            if self.expected(receipt) != Expected::Stale {
                self.acked.insert(receipt.offset);
            }
            let latest = self.latest.get_mut(&receipt.offset).unwrap();
            if latest.receipt == *receipt {
                latest.held = false;
            }
        }
        let request = self.request(Request::Ack(expected));
        self.input(Input::Ack {
            request,
            receipts: &receipts,
        })
    }

    /// An ack is accepted unless the message was leased again to somebody else.
    fn expected(&self, receipt: &Receipt) -> Expected {
        let offset = receipt.offset;
        let latest = &self.latest[&offset];
        if latest.receipt == *receipt {
            return Expected::Accepted;
        }
        let by_this_leader = by(&self.queue, &latest.receipt);
        let done = self.durable.is_acked(offset);
        let maybe_done = self.acked.contains(&offset) || self.dead_letters.contains(&offset);
        match by_this_leader && !done && !maybe_done {
            true => Expected::Stale,
            false => Expected::Either,
        }
    }

    fn nack(&mut self, pick: &prop::sample::Index, delay_ms: Option<u64>) -> Checked {
        if self.leases.is_empty() {
            return Ok(());
        }
        let receipt = *pick.get(&self.leases);
        let latest = self.latest.get_mut(&receipt.offset).unwrap();
        if latest.receipt == receipt {
            latest.held = false;
        }
        let request = self.request(Request::Other);
        let nacks = [Nack { receipt, delay_ms }];
        self.input(Input::Nack {
            request,
            nacks: &nacks,
        })
    }

    fn extend(&mut self, pick: &prop::sample::Index, invisible_ms: u64) -> Checked {
        if self.leases.is_empty() {
            return Ok(());
        }
        let receipt = *pick.get(&self.leases);
        let request = self.request(Request::Other);
        let mut effects = Vec::new();
        let extends = [Extend {
            receipt,
            invisible_ms,
        }];
        let input = Input::Extend {
            request,
            extends: &extends,
        };
        prop_assert_eq!(self.queue.step(self.now_ms, input, &mut effects), Ok(()));
        for effect in effects {
            if let Effect::Reply {
                errors,
                request: to,
            } = &effect
                && *to == request
                && errors.is_empty()
            {
                let latest = self.latest.get_mut(&receipt.offset).unwrap();
                // A new leader does not know which of its predecessors' leases was the last.
                let known = by(&self.queue, &latest.receipt);
                prop_assert!(
                    latest.receipt == receipt || !known,
                    "a stale lease was extended"
                );
                latest.deadline_ms = self.now_ms + invisible_ms;
                latest.held = true;
            }
            self.see(effect)?;
        }
        Ok(())
    }

    /// The latest lease was never sent.
    fn release_last(&mut self) -> Checked {
        let Some(receipt) = self.leases.last().copied() else {
            return Ok(());
        };
        let latest = self.latest.get_mut(&receipt.offset).unwrap();
        if !latest.held || self.acked.contains(&receipt.offset) {
            return Ok(());
        }
        self.leases.pop();
        latest.held = false;
        self.input(Input::Release(&[receipt]))
    }

    fn record(&mut self, events: &[Event], dead_letters: &[u64]) {
        events.iter().for_each(|event| self.durable.apply(event));
        for offset in dead_letters {
            // The log acks what it moves, and moves nothing that is done.
            if !self.durable.is_acked(*offset) {
                self.dead_letters.insert(*offset);
                let (first, last) = (*offset, *offset);
                self.durable.apply(&Event::Acked { first, last });
            }
        }
    }

    pub(super) fn persisted(&mut self) -> Checked {
        let Some((id, events, dead_letters)) = self.recording.pop_front() else {
            return Ok(());
        };
        self.record(&events, &dead_letters);
        self.input(Input::Persisted { id })
    }

    fn persist_failed(&mut self, applied: bool) -> Checked {
        let Some((id, events, dead_letters)) = self.recording.pop_front() else {
            return Ok(());
        };
        if applied {
            self.record(&events, &dead_letters);
        }
        self.input(Input::PersistFailed { id })
    }

    /// Whatever was being recorded is, up to some point; the leases are forgotten.
    fn new_leader(&mut self, recorded: &prop::sample::Index, same_term: bool) {
        let recorded = recorded.index(self.recording.len() + 1);
        let recording = std::mem::take(&mut self.recording);
        for (_, events, dead_letters) in recording.into_iter().take(recorded) {
            self.record(&events, &dead_letters);
        }
        self.requests.clear();
        self.term += u64::from(!same_term);
        self.latest
            .values_mut()
            .for_each(|latest| latest.held = false);
        let first_nonce = self.queue.next_nonce + 5;
        let progress = self.durable.clone();
        self.queue = new_queue(self.term, first_nonce, progress, self.messages.len());
    }

    fn see(&mut self, effect: Effect) -> Checked {
        match effect {
            Effect::Deliver(lease) => self.see_delivery(&lease),
            Effect::Persist {
                id,
                events,
                dead_letters,
            } => self.see_persist(id, events, dead_letters),
            Effect::Reply { request, errors } => self.see_reply(request, &errors),
            Effect::Unrecorded { request } => {
                prop_assert!(self.requests.remove(&request).is_some());
                Ok(())
            }
        }
    }

    fn see_delivery(&mut self, lease: &Lease) -> Checked {
        let offset = lease.receipt.offset;
        let message = self.messages[offset as usize];
        prop_assert!(message.matches, "{offset} was filtered out");
        prop_assert!(lease.receipt.attempt <= MAX_ATTEMPTS);
        prop_assert!(lease.deadline_ms > self.now_ms);
        if let Some(latest) = self.latest.get(&offset) {
            let free = !latest.held || latest.deadline_ms <= self.now_ms;
            prop_assert!(free, "{offset} has two holders");
            prop_assert!(lease.receipt.nonce > latest.receipt.nonce);
        }
        let mut before = self.messages[..offset as usize].iter();
        let in_turn = before.all(|earlier| {
            message.key_hash == 0
                || earlier.key_hash != message.key_hash
                || !earlier.matches
                || self.durable.is_acked(earlier.offset)
        });
        prop_assert!(in_turn, "{offset} was delivered before its turn");
        *self.deliveries.entry(offset).or_default() += 1;
        self.leases.push(lease.receipt);
        let held = Held {
            receipt: lease.receipt,
            deadline_ms: lease.deadline_ms,
            held: true,
        };
        self.latest.insert(offset, held);
        Ok(())
    }

    fn see_persist(&mut self, id: u64, events: Vec<Event>, dead_letters: Vec<u64>) -> Checked {
        for event in &events {
            if let Event::Acked { first, last } = event {
                for offset in *first..=*last {
                    let filtered = !self.messages[offset as usize].matches;
                    let allowed = filtered || self.acked.contains(&offset);
                    prop_assert!(allowed, "{offset} was acked by nobody");
                }
            }
        }
        for offset in &dead_letters {
            let deliveries = self.deliveries.get(offset).copied().unwrap_or(0);
            prop_assert!(
                deliveries >= MAX_ATTEMPTS,
                "{offset} died after {deliveries}"
            );
        }
        self.recording.push_back((id, events, dead_letters));
        Ok(())
    }

    fn see_reply(&mut self, request: u64, errors: &[(Receipt, ReceiptError)]) -> Checked {
        let Some(Request::Ack(receipts)) = self.requests.remove(&request) else {
            return Ok(());
        };
        for (receipt, expected) in receipts {
            let refused = errors.iter().find(|(r, _)| *r == receipt).map(|(_, e)| *e);
            match expected {
                Expected::Accepted => prop_assert_eq!(refused, None),
                Expected::Stale => prop_assert!(
                    matches!(refused, Some(ReceiptError::Stale | ReceiptError::Unknown)),
                    "{:?} for {:?}",
                    refused,
                    receipt
                ),
                Expected::Either => {}
            }
            if refused.is_none() {
                let done = self.durable.is_acked(receipt.offset);
                prop_assert!(done, "{} answered before durable", receipt.offset);
            }
        }
        Ok(())
    }

    /// Consumers ack everything and the log works: everything must come to an end.
    pub(super) fn drain(&mut self) -> Checked {
        for _ in 0..200 {
            self.offer(8)?;
            let from = self.leases.len();
            let (max, invisible_ms) = (8, 1_000);
            self.input(Input::Receive { max, invisible_ms })?;
            let given = self.leases[from..].to_vec();
            for receipt in given {
                self.acked.insert(receipt.offset);
                let request = self.request(Request::Other);
                let receipts = [receipt];
                self.input(Input::Ack {
                    request,
                    receipts: &receipts,
                })?;
            }
            while !self.recording.is_empty() {
                self.persisted()?;
            }
            if let Some(deadline_ms) = self.queue.next_deadline() {
                self.now_ms = self.now_ms.max(deadline_ms);
            }
        }
        prop_assert_eq!(self.durable.floor(), self.messages.len() as u64);
        prop_assert_eq!(self.durable.retries().len(), 0);
        prop_assert!(self.queue.is_idle());
        prop_assert_eq!(self.queue.next_deadline(), None);
        prop_assert_eq!(self.queue.room(), 64);
        for message in self.messages.iter().filter(|message| message.matches) {
            let ended =
                self.acked.contains(&message.offset) || self.dead_letters.contains(&message.offset);
            prop_assert!(ended, "{} vanished", message.offset);
        }
        Ok(())
    }
}

/// Whether this very machine gave the lease.
fn by(queue: &Queue, receipt: &Receipt) -> bool {
    receipt.place.term == queue.place.term && receipt.nonce >= queue.first_nonce
}

fn new_queue(term: u64, first_nonce: u64, progress: Progress, end: usize) -> Queue {
    let place = Place {
        term,
        group: 1,
        topic: 2,
        queue: 3,
    };
    let options = Options {
        max_attempts: MAX_ATTEMPTS,
        retry_delays_ms: vec![RETRY_DELAY_MS],
        held_count_max: 64,
        persist_retry_ms: 10,
    };
    Queue::new(place, options, progress, end as u64, first_nonce)
}
