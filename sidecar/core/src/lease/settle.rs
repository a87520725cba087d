//! How leases end: acked, given back, prolonged, and what happens when that is recorded.

use super::{
    Effect, Error, Event, Extend, Nack, Queue, Receipt, ReceiptError,
    queue::{Pending, Reply, push_acked},
    slot::{Phase, Slot},
};

/// What a receipt means for its message.
enum Standing {
    /// It names the latest lease, and nobody else got the message since.
    Valid,
    /// The message is done.
    Done,
    /// From a predecessor, about a message that is still to be offered.
    Ahead,
}

impl Queue {
    pub(super) fn ack(&mut self, request: u64, receipts: &[Receipt], effects: &mut Vec<Effect>) {
        let mut errors = Vec::new();
        let mut offsets = Vec::with_capacity(receipts.len());
        let persist = self.next_persist;
        for receipt in receipts {
            let offset = receipt.offset;
            match self.standing(receipt) {
                Ok(Standing::Valid) => {
                    self.set_phase(offset, Phase::Settling { persist });
                    offsets.push(offset);
                }
                Ok(Standing::Ahead) => {
                    self.settling_ahead.insert(offset, persist);
                    offsets.push(offset);
                }
                Ok(Standing::Done) => {}
                Err(error) => errors.push((*receipt, error)),
            }
        }
        offsets.sort_unstable();
        let mut events = Vec::new();
        for offset in offsets {
            push_acked(&mut events, offset);
        }
        self.persist(events, Vec::new(), Some(Reply { request, errors }), effects);
    }

    pub(super) fn nack(
        &mut self,
        now_ms: u64,
        request: u64,
        nacks: &[Nack],
        effects: &mut Vec<Effect>,
    ) {
        let mut errors = Vec::new();
        let mut events = Vec::new();
        let mut dead_letters = Vec::new();
        for nack in nacks {
            match self.nack_one(now_ms, nack) {
                Ok(Some(Given::Back(event))) => events.push(event),
                Ok(Some(Given::Up(offset))) => dead_letters.push(offset),
                Ok(None) => {}
                Err(error) => errors.push((nack.receipt, error)),
            }
        }
        let reply = Some(Reply { request, errors });
        self.persist(events, dead_letters, reply, effects);
    }

    fn nack_one(&mut self, now_ms: u64, nack: &Nack) -> Result<Option<Given>, ReceiptError> {
        let offset = nack.receipt.offset;
        match self.standing(&nack.receipt)? {
            Standing::Valid => {}
            Standing::Done => return Err(ReceiptError::Settled),
            // It will be delivered again anyway.
            Standing::Ahead => return Ok(None),
        }
        let persist = self.next_persist;
        let Some(slot) = self.slots.get_mut(&offset) else {
            return Err(ReceiptError::Settled);
        };
        match slot.phase {
            Phase::Leased { .. } | Phase::Ready => {}
            // Given back before; or a predecessor's, and its turn has not come.
            Phase::Waiting { .. } | Phase::Blocked { .. } => return Ok(None),
            Phase::Settling { .. } => return Err(ReceiptError::Settled),
        }
        adopt(slot, &nack.receipt);
        let attempt = slot.deliveries.saturating_add(1);
        self.set_phase(offset, Phase::Settling { persist });
        if attempt > self.options.max_attempts.max(1) {
            return Ok(Some(Given::Up(offset)));
        }
        let delay_ms = nack
            .delay_ms
            .unwrap_or_else(|| self.retry_delay_ms(attempt));
        Ok(Some(Given::Back(Event::Retry {
            offset,
            attempt,
            visible_at_ms: now_ms.saturating_add(delay_ms),
        })))
    }

    /// The table's first entry is the wait before the second delivery.
    fn retry_delay_ms(&self, attempt: u32) -> u64 {
        let table = &self.options.retry_delays_ms;
        let index = attempt.saturating_sub(2) as usize;
        table.get(index).or(table.last()).copied().unwrap_or(0)
    }

    pub(super) fn extend(
        &mut self,
        now_ms: u64,
        request: u64,
        extends: &[Extend],
        effects: &mut Vec<Effect>,
    ) {
        let mut errors = Vec::new();
        for extend in extends {
            if let Err(error) = self.extend_one(now_ms, extend) {
                errors.push((extend.receipt, error));
            }
        }
        effects.push(Effect::Reply { request, errors });
    }

    fn extend_one(&mut self, now_ms: u64, extend: &Extend) -> Result<(), ReceiptError> {
        let offset = extend.receipt.offset;
        match self.standing(&extend.receipt)? {
            Standing::Valid => {}
            Standing::Done => return Err(ReceiptError::Settled),
            Standing::Ahead => return Err(ReceiptError::Unknown),
        }
        let Some(slot) = self.slots.get_mut(&offset) else {
            return Err(ReceiptError::Settled);
        };
        match slot.phase {
            // Ready: it ran out, or is a predecessor's, but nobody else got the message.
            Phase::Leased { .. } | Phase::Ready => {}
            Phase::Waiting { .. } | Phase::Settling { .. } => return Err(ReceiptError::Settled),
            Phase::Blocked { .. } => return Err(ReceiptError::Unknown),
        }
        adopt(slot, &extend.receipt);
        let deadline_ms = now_ms.saturating_add(extend.invisible_ms);
        self.set_phase(offset, Phase::Leased { deadline_ms });
        Ok(())
    }

    pub(super) fn release(&mut self, receipts: &[Receipt]) {
        for receipt in receipts {
            let Ok(Standing::Valid) = self.standing(receipt) else {
                continue;
            };
            let Some(slot) = self.slots.get_mut(&receipt.offset) else {
                continue;
            };
            if matches!(slot.phase, Phase::Leased { .. }) {
                slot.deliveries = slot.deliveries.saturating_sub(1);
                self.set_phase(receipt.offset, Phase::Ready);
                self.make_ready_again(receipt.offset);
            }
        }
    }

    /// An ack is valid unless the message was leased again to somebody else.
    fn standing(&self, receipt: &Receipt) -> Result<Standing, ReceiptError> {
        let (theirs, ours) = (&receipt.place, &self.place);
        let same_queue =
            (theirs.group, theirs.topic, theirs.queue) == (ours.group, ours.topic, ours.queue);
        if !same_queue || (theirs.term, receipt.nonce) >= (ours.term, self.next_nonce) {
            return Err(ReceiptError::Unknown);
        }
        let former = (theirs.term, receipt.nonce) < (ours.term, self.first_nonce);
        let Some(slot) = self.slots.get(&receipt.offset) else {
            let ahead = receipt.offset >= self.next_offer;
            return match (ahead, former && receipt.offset < self.former_end) {
                (false, _) => Ok(Standing::Done),
                (true, true) if self.recorded.is_acked(receipt.offset) => Ok(Standing::Done),
                (true, true) => Ok(Standing::Ahead),
                (true, false) => Err(ReceiptError::Unknown),
            };
        };
        match slot.nonce {
            nonce if nonce == receipt.nonce => Ok(Standing::Valid),
            0 if former => Ok(Standing::Valid),
            0 => Err(ReceiptError::Unknown),
            // Of two leases of predecessors the later one counts.
            adopted if former && adopted < receipt.nonce => Ok(Standing::Valid),
            _ => Err(ReceiptError::Stale),
        }
    }

    /// Records events and dead letters, then replies. Without anything to record the reply
    /// goes out at once.
    pub(super) fn persist(
        &mut self,
        events: Vec<Event>,
        dead_letters: Vec<u64>,
        reply: Option<Reply>,
        effects: &mut Vec<Effect>,
    ) {
        if events.is_empty() && dead_letters.is_empty() {
            if let Some(Reply { request, errors }) = reply {
                effects.push(Effect::Reply { request, errors });
            }
            return;
        }
        let id = self.next_persist;
        self.next_persist += 1;
        effects.push(Effect::Persist {
            id,
            events: events.clone(),
            dead_letters: dead_letters.clone(),
        });
        let pending = Pending {
            events,
            dead_letters,
            reply,
        };
        self.pending.insert(id, pending);
    }

    pub(super) fn persisted(
        &mut self,
        now_ms: u64,
        id: u64,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Error> {
        let pending = self.pending.remove(&id);
        let pending = pending.ok_or(Error::UnknownPersist { id })?;
        let mut dead_letters = Vec::new();
        for event in &pending.events {
            match *event {
                Event::Acked { first, last } => self.done(now_ms, first, last, &mut dead_letters),
                Event::Retry {
                    offset,
                    visible_at_ms,
                    ..
                } => self.given_back(now_ms, id, offset, visible_at_ms),
            }
        }
        for offset in pending.dead_letters {
            self.done(now_ms, offset, offset, &mut dead_letters);
        }
        if let Some(Reply { request, errors }) = pending.reply {
            effects.push(Effect::Reply { request, errors });
        }
        self.persist(Vec::new(), dead_letters, None, effects);
        Ok(())
    }

    /// Durably done: whatever the slots were, they go, and the next of their message
    /// groups have their turn.
    fn done(&mut self, now_ms: u64, first: u64, last: u64, dead_letters: &mut Vec<u64>) {
        if last >= self.next_offer {
            // The only acks so far ahead are of predecessors' leases.
            self.recorded.apply(&Event::Acked { first, last });
        }
        self.settling_ahead
            .extract_if(first..=last, |_, _| true)
            .for_each(drop);
        while let Some((&offset, &slot)) = self.slots.range(first..=last).next() {
            self.slots.remove(&offset);
            if let Some(at_ms) = slot.timer_ms() {
                self.timers.remove(&(at_ms, offset));
            }
            if slot.key_hash != 0
                && let Some(next) = self.message_groups.leave(slot.key_hash, offset)
            {
                self.take_turn(now_ms, next, dead_letters);
            }
        }
    }

    /// Durably to be delivered again, unless something else was said about it since.
    fn given_back(&mut self, now_ms: u64, persist: u64, offset: u64, visible_at_ms: u64) {
        let Some(slot) = self.slots.get(&offset) else {
            return;
        };
        if slot.phase != (Phase::Settling { persist }) {
            return;
        }
        match visible_at_ms > now_ms {
            true => self.set_phase(offset, Phase::Waiting { visible_at_ms }),
            false => self.make_ready_again(offset),
        }
    }

    /// Nobody knows what became of it. The leases last on for a while, so that their
    /// holders can say it again.
    pub(super) fn persist_failed(
        &mut self,
        now_ms: u64,
        id: u64,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Error> {
        let pending = self.pending.remove(&id);
        let pending = pending.ok_or(Error::UnknownPersist { id })?;
        let deadline_ms = now_ms.saturating_add(self.options.persist_retry_ms);
        self.settling_ahead.retain(|_, persist| *persist != id);
        let mut settling = pending.dead_letters;
        for event in &pending.events {
            match *event {
                Event::Acked { first, last } => {
                    settling.extend(self.slots.range(first..=last).map(|(offset, _)| *offset));
                    if pending.reply.is_none() {
                        self.unrecorded.push(*event);
                        self.unrecorded_at_ms = deadline_ms;
                    }
                }
                Event::Retry { offset, .. } => settling.push(offset),
            }
        }
        for offset in settling {
            let Some(slot) = self.slots.get(&offset) else {
                continue;
            };
            if slot.phase != (Phase::Settling { persist: id }) {
                continue;
            }
            // A predecessor's lease may end out of turn, but a new one must not begin so.
            let phase = match self.message_groups.is_turn(slot.key_hash, offset) {
                true => Phase::Leased { deadline_ms },
                false => Phase::Blocked { visible_at_ms: 0 },
            };
            self.set_phase(offset, phase);
        }
        if let Some(Reply { request, .. }) = pending.reply {
            effects.push(Effect::Unrecorded { request });
        }
        Ok(())
    }

    /// Changes a slot's phase and keeps its timer in step.
    fn set_phase(&mut self, offset: u64, phase: Phase) {
        let Some(slot) = self.slots.get_mut(&offset) else {
            return;
        };
        if let Some(at_ms) = slot.timer_ms() {
            self.timers.remove(&(at_ms, offset));
        }
        slot.phase = phase;
        if let Some(at_ms) = slot.timer_ms() {
            self.timers.insert((at_ms, offset));
        }
    }
}

/// A message that its consumer did not want.
enum Given {
    /// It is delivered again.
    Back(Event),
    /// It used up its attempts.
    Up(u64),
}

/// A predecessor's lease becomes one of this machine's: its delivery counts.
fn adopt(slot: &mut Slot, receipt: &Receipt) {
    slot.nonce = receipt.nonce;
    slot.deliveries = slot.deliveries.max(receipt.attempt);
}
