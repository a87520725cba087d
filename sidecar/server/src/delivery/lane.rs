use std::collections::{BTreeMap, VecDeque};

use outrigger_core::lease::{
    Candidate, Effect, Event, Extend, Input, Lease, Nack, Place, Queue, Receipt, ReceiptError,
};
use outrigger_log::{
    IndexEntry,
    command::{Command, ConsumerGroupId, TopicId},
};

use super::{Filter, Store, member::Leased, ticket::Part};
use crate::edge::status::Failure;

/// Places read from the index at a time.
const REFILL_COUNT: usize = 1_024;
/// Places kept for messages that were offered and may be delivered; others are read again.
const PLACES_COUNT_MAX: usize = 16_384;

/// One queue, as one consumer group consumes it: its lease machine, and what the machine's
/// effects need.
pub(super) struct Lane {
    queue: Queue,
    number: u32,
    group: ConsumerGroupId,
    topic: TopicId,
    /// Everything before it has expired.
    first_offset: u64,
    /// The latest places that were offered, without a gap.
    places: VecDeque<IndexEntry>,
    /// Acks that came in since the last step.
    acks: Vec<Part>,
    /// Who waits for which request.
    requests: BTreeMap<u64, Vec<Part>>,
    next_request: u64,
    effects: Vec<Effect>,
}

/// What a lane wants recorded.
pub(super) struct Recording {
    pub(super) lane: u32,
    pub(super) id: u64,
    pub(super) commands: usize,
}

impl Lane {
    pub(super) fn new(
        place: Place,
        options: outrigger_core::lease::Options,
        store: &dyn Store,
        first_nonce: u64,
    ) -> Self {
        let (group, topic) = (ConsumerGroupId(place.group), TopicId(place.topic));
        let (_, end) = store.bounds(topic, place.queue);
        let progress = store.progress(group, topic, place.queue);
        Self {
            queue: Queue::new(place, options, progress, end, first_nonce),
            number: place.queue,
            group,
            topic,
            first_offset: 0,
            places: VecDeque::new(),
            acks: Vec::new(),
            requests: BTreeMap::new(),
            next_request: 0,
            effects: Vec::new(),
        }
    }

    pub(super) fn next_deadline_ms(&self) -> Option<u64> {
        self.queue.next_deadline()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.acks.is_empty() && self.requests.is_empty() && self.queue.is_idle()
    }

    /// A driver's mistake must not stop the queue; it is logged, and nothing changed.
    fn step(&mut self, now_ms: u64, input: Input<'_>) {
        if let Err(error) = self.queue.step(now_ms, input, &mut self.effects) {
            tracing::error!(topic = self.topic.0, queue = self.number, %error, "lease machine");
        }
    }

    pub(super) fn tick(&mut self, now_ms: u64) {
        if self
            .queue
            .next_deadline()
            .is_some_and(|at_ms| at_ms <= now_ms)
        {
            self.step(now_ms, Input::Tick);
        }
    }

    fn request(&mut self, parts: Vec<Part>) -> u64 {
        self.next_request += 1;
        self.requests.insert(self.next_request, parts);
        self.next_request
    }

    /// Acks are collected: however many requests, they become one record.
    pub(super) fn ack(&mut self, part: Part) {
        self.acks.push(part);
    }

    pub(super) fn nack(&mut self, now_ms: u64, part: Part, nacks: &[Nack]) {
        let request = self.request(vec![part]);
        self.step(now_ms, Input::Nack { request, nacks });
    }

    pub(super) fn extend(&mut self, now_ms: u64, part: Part, extends: &[Extend]) {
        let request = self.request(vec![part]);
        self.step(now_ms, Input::Extend { request, extends });
    }

    pub(super) fn release(&mut self, now_ms: u64, receipts: &[Receipt]) {
        self.step(now_ms, Input::Release(receipts));
    }

    /// Messages that turned out not to match the filter are done, and nobody waits for it.
    pub(super) fn filtered_out(&mut self, now_ms: u64, receipts: &[Receipt]) {
        let request = self.request(Vec::new());
        self.step(now_ms, Input::Ack { request, receipts });
    }

    /// Steps with the acks that came in.
    pub(super) fn flush_acks(&mut self, now_ms: u64) {
        if self.acks.is_empty() {
            return;
        }
        let parts = std::mem::take(&mut self.acks);
        let receipts: Vec<Receipt> = parts
            .iter()
            .flat_map(|part| &part.receipts)
            .copied()
            .collect();
        let request = self.request(parts);
        self.step(
            now_ms,
            Input::Ack {
                request,
                receipts: &receipts,
            },
        );
    }

    pub(super) fn recorded(&mut self, now_ms: u64, id: u64, recorded: bool, failure: &Failure) {
        match recorded {
            true => self.step(now_ms, Input::Persisted { id }),
            false => self.step(now_ms, Input::PersistFailed { id }),
        }
        self.answer(failure);
    }

    /// Leases at most `max` messages.
    pub(super) fn receive(
        &mut self,
        now_ms: u64,
        max: usize,
        invisible_ms: u64,
        filter: &Filter,
        store: &dyn Store,
    ) -> Vec<Leased> {
        self.skip_expired(now_ms, store);
        if self.queue.ready_at_most() < max {
            self.refill(now_ms, filter, store);
        }
        if self.queue.ready_at_most() == 0 {
            return Vec::new();
        }
        self.step(now_ms, Input::Receive { max, invisible_ms });
        let mut leases: Vec<Lease> = Vec::new();
        self.effects.retain(|effect| match effect {
            Effect::Deliver(lease) => {
                leases.push(*lease);
                false
            }
            Effect::Persist { .. } | Effect::Reply { .. } | Effect::Unrecorded { .. } => true,
        });
        let mut leased = Vec::with_capacity(leases.len());
        for lease in leases {
            match self.place(lease.receipt.offset, store) {
                Some(entry) => leased.push(Leased { entry, lease }),
                // It runs out and comes again.
                None => tracing::error!(
                    topic = self.topic.0,
                    queue = self.number,
                    offset = lease.receipt.offset,
                    "a leased message has no place in the index"
                ),
            }
        }
        leased
    }

    /// Messages that expire before they are acknowledged count as done.
    fn skip_expired(&mut self, now_ms: u64, store: &dyn Store) {
        let (first, _) = store.bounds(self.topic, self.number);
        if first <= self.first_offset {
            return;
        }
        self.first_offset = first;
        if first > self.queue.next_offer() {
            self.places.clear();
        }
        self.step(now_ms, Input::Skip { until: first });
    }

    fn refill(&mut self, now_ms: u64, filter: &Filter, store: &dyn Store) {
        let (_, next) = store.bounds(self.topic, self.number);
        let from = self.queue.next_offer();
        let max = self.queue.room().min(REFILL_COUNT);
        if from >= next || max == 0 {
            return;
        }
        let mut entries = Vec::with_capacity(max);
        if let Err(failure) = store.index(self.topic, self.number, from, max, &mut entries) {
            tracing::error!(topic = self.topic.0, queue = self.number, %failure.message, "index");
            return;
        }
        let candidates: Vec<Candidate> = entries
            .iter()
            .map(|entry| Candidate {
                offset: entry.offset,
                key_hash: entry.key_hash,
                matches: filter.may_match(entry.tag_hash),
            })
            .collect();
        self.places.extend(entries);
        let excess = self.places.len().saturating_sub(PLACES_COUNT_MAX);
        self.places.drain(..excess);
        self.step(now_ms, Input::Offer(&candidates));
    }

    fn place(&self, offset: u64, store: &dyn Store) -> Option<IndexEntry> {
        let first = self.places.front().map_or(u64::MAX, |entry| entry.offset);
        let kept = offset
            .checked_sub(first)
            .and_then(|index| self.places.get(index as usize));
        if let Some(entry) = kept {
            return Some(*entry);
        }
        let mut found = Vec::with_capacity(1);
        store
            .index(self.topic, self.number, offset, 1, &mut found)
            .ok()?;
        found.pop().filter(|entry| entry.offset == offset)
    }

    /// Takes what is to be recorded, and answers what needs no record.
    pub(super) fn take_records(&mut self, commands: &mut Vec<Command>) -> Vec<Recording> {
        let mut recordings = Vec::new();
        let (group, topic, queue) = (self.group, self.topic, self.number);
        let unknown = Failure::new(tonic::Code::Internal, "NOT_RECORDED", "not recorded");
        self.answer(&unknown);
        for effect in self.effects.drain(..) {
            let Effect::Persist {
                id,
                events,
                dead_letters,
            } = effect
            else {
                continue;
            };
            let before = commands.len();
            if !events.is_empty() {
                commands.push(progress(group, topic, queue, events));
            }
            commands.extend(dead_letters.into_iter().map(|offset| Command::DeadLetter {
                group,
                topic,
                queue,
                offset,
            }));
            recordings.push(Recording {
                lane: queue,
                id,
                commands: commands.len() - before,
            });
        }
        recordings
    }

    /// Answers every request that is done.
    fn answer(&mut self, failure: &Failure) {
        let requests = &mut self.requests;
        self.effects.retain_mut(|effect| match effect {
            Effect::Reply { request, errors } => {
                let parts = requests.remove(request).unwrap_or_default();
                answer(parts, std::mem::take(errors));
                false
            }
            Effect::Unrecorded { request } => {
                let parts = requests.remove(request).unwrap_or_default();
                parts.into_iter().for_each(|part| part.failed(failure));
                false
            }
            Effect::Persist { .. } | Effect::Deliver(_) => true,
        });
    }
}

fn progress(group: ConsumerGroupId, topic: TopicId, queue: u32, events: Vec<Event>) -> Command {
    Command::Progress {
        group,
        topic,
        queue,
        events,
    }
}

fn answer(parts: Vec<Part>, errors: Vec<(Receipt, ReceiptError)>) {
    for part in parts {
        let own = errors
            .iter()
            .filter(|(receipt, _)| part.receipts.contains(receipt));
        let own: Vec<_> = own.copied().collect();
        part.done(own);
    }
}
