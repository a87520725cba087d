//! The commands of a half-message transaction.

use std::sync::Arc;

use outrigger_core::half_message::{Error, HalfMessage, Input, Verdict};

use super::StateError;
use super::delayed::DelayedMessage;
use super::machine::{Context, Machine};
use super::outgoing::OutgoingMessage;
use super::record;
use super::transactions::{AuditAction, AuditEntry, Pending, Resolved, ResolvedAt, StoredMessage};
use crate::command::{
    Destination, Outcome, RecordedDestination, RecordedMessage, Refusal, Span, TransactionId,
};
use crate::derived::Table;

impl Machine {
    pub(super) fn prepare(
        &mut self,
        context: &Context,
        id: TransactionId,
        producer_group: &str,
        fingerprint: u128,
        messages: &[RecordedMessage<'_>],
    ) -> Result<Outcome, StateError> {
        let mut machine = self.half_message(context, id)?;
        match machine.step(Input::Prepare { fingerprint }) {
            Err(error) => return Ok(refused(id, &error)),
            Ok(None) => return Ok(Outcome::Prepared { repeated: true }),
            Ok(Some(_)) => {}
        }
        if let Err(refusal) = self.check_prepare(id, messages) {
            return Ok(Outcome::Refused(refusal));
        }
        let stored: Box<[StoredMessage]> = messages
            .iter()
            .map(|message| StoredMessage {
                destination: destination(message),
                key_hash: message.key_hash,
                tag_hash: message.tag_hash,
                deliver_at_ms: message.deliver_at_ms,
                from_fence: message.from_fence,
                place: context.place(message.span),
                length: message.span.length,
            })
            .collect();
        self.delayed.reserve(delayed(messages));
        self.outgoing.reserve(outgoing(messages));
        self.transactions
            .insert(id, machine, producer_group, context.stamp_ms, stored);
        Ok(Outcome::Prepared { repeated: false })
    }

    fn check_prepare(
        &self,
        id: TransactionId,
        messages: &[RecordedMessage<'_>],
    ) -> Result<(), Refusal> {
        if messages.is_empty() {
            return Err(Refusal::TransactionEmpty(id));
        }
        for message in messages {
            if let RecordedDestination::Here(topic) = message.destination
                && self.topics.get(topic).is_none()
            {
                return Err(Refusal::UnknownTopic(topic));
            }
        }
        let limit = self.limits.unresolved_transactions_max;
        if self.transactions.pending_count() >= limit {
            return Err(Refusal::TooManyUnresolved { limit });
        }
        let limit = self.limits.delayed_messages_max;
        let waiting = delayed(messages);
        if waiting > 0 && !self.delayed.has_room(waiting, limit) {
            return Err(Refusal::TooManyDelayed { limit });
        }
        let limit = self.limits.outgoing_messages_max;
        let waiting = outgoing(messages);
        if waiting > 0 && !self.outgoing.has_room(waiting, limit) {
            return Err(Refusal::TooManyOutgoing { limit });
        }
        Ok(())
    }

    pub(super) fn resolve(
        &mut self,
        context: &Context,
        id: TransactionId,
        verdict: Verdict,
        replacements: &[(u32, Span)],
    ) -> Result<Outcome, StateError> {
        let mut machine = self.half_message(context, id)?;
        Ok(match machine.step(Input::Resolve { verdict }) {
            Err(error) => refused(id, &error),
            Ok(None) => Outcome::Resolved { repeated: true },
            Ok(Some(_)) => self.settle(context, id, machine, verdict, replacements, None),
        })
    }

    pub(super) fn decide(
        &mut self,
        context: &Context,
        id: TransactionId,
        verdict: Verdict,
        replacements: &[(u32, Span)],
        reason: &str,
    ) -> Result<Outcome, StateError> {
        let mut machine = self.half_message(context, id)?;
        let audit = audit(context, AuditAction::Decided(verdict), reason);
        Ok(match machine.step(Input::Decide { verdict }) {
            Err(error) => refused(id, &error),
            Ok(None) => Outcome::Resolved { repeated: true },
            Ok(Some(_)) => self.settle(context, id, machine, verdict, replacements, Some(audit)),
        })
    }

    pub(super) fn park(
        &mut self,
        context: &Context,
        id: TransactionId,
    ) -> Result<Outcome, StateError> {
        let mut machine = self.half_message(context, id)?;
        match machine.step(Input::Park) {
            Err(error) => return Ok(refused(id, &error)),
            Ok(None) => {}
            Ok(Some(_)) => self.transactions.change(id, machine, None),
        }
        Ok(Outcome::Parked)
    }

    pub(super) fn resume(
        &mut self,
        context: &Context,
        id: TransactionId,
        reason: &str,
    ) -> Result<Outcome, StateError> {
        let mut machine = self.half_message(context, id)?;
        let audit = audit(context, AuditAction::Resumed, reason);
        match machine.step(Input::Resume) {
            Err(error) => return Ok(refused(id, &error)),
            Ok(None) => {}
            Ok(Some(_)) => self.transactions.change(id, machine, Some(audit)),
        }
        Ok(Outcome::Resumed)
    }

    /// The one moment in which a transaction's messages are delivered or dropped.
    fn settle(
        &mut self,
        context: &Context,
        id: TransactionId,
        machine: HalfMessage,
        verdict: Verdict,
        replacements: &[(u32, Span)],
        audit: Option<AuditEntry>,
    ) -> Outcome {
        let Some(pending) = self.transactions.pending(id) else {
            return Outcome::Refused(Refusal::TransactionNotFound(id));
        };
        if verdict == Verdict::Commit
            && let Err(refusal) = check_replacements(id, pending, replacements)
        {
            return Outcome::Refused(refusal);
        }
        let retention_ms = self.limits.resolved_retention_ms;
        let at = ResolvedAt {
            index: context.index,
            stamp_ms: context.stamp_ms,
            expires_at_ms: context.stamp_ms.saturating_add(retention_ms),
        };
        let settled = self.transactions.resolve(id, machine, audit, at);
        if let Some(pending) = settled {
            self.delayed.release(pending.delayed_messages());
            self.outgoing.release(pending.outgoing_messages());
            match verdict {
                Verdict::Commit => self.deliver_all(context, &pending, replacements),
                Verdict::Rollback => {}
            }
        }
        Outcome::Resolved { repeated: false }
    }

    fn deliver_all(&mut self, context: &Context, pending: &Pending, replacements: &[(u32, Span)]) {
        for (message, number) in pending.messages.iter().zip(0_u32..) {
            let replaced = replacements.iter().find(|(of, _)| *of == number);
            let (place, length) = match replaced {
                Some((_, span)) => (context.place(*span), span.length),
                None => (message.place, message.length),
            };
            match &message.destination {
                Destination::Here(topic) => {
                    let stored = DelayedMessage {
                        topic: *topic,
                        key_hash: message.key_hash,
                        tag_hash: message.tag_hash,
                        place,
                        length,
                    };
                    self.deliver(context, stored, message.deliver_at_ms);
                }
                Destination::There { group, topic } => {
                    let stored = OutgoingMessage {
                        topic: Arc::clone(topic),
                        key_hash: message.key_hash,
                        tag_hash: message.tag_hash,
                        deliver_at_ms: message.deliver_at_ms,
                        place,
                        length,
                    };
                    self.outgoing.push(*group, stored);
                }
            }
        }
    }

    /// What is recorded of a transaction. A verdict that has expired counts as absent.
    fn half_message(
        &self,
        context: &Context,
        id: TransactionId,
    ) -> Result<HalfMessage, StateError> {
        if let Some(pending) = self.transactions.pending(id) {
            return Ok(pending.machine);
        }
        let resolved = self.resolved(id, context.index, |resolved| resolved.machine)?;
        Ok(resolved.unwrap_or_else(HalfMessage::absent))
    }

    /// Looks at a verdict that can still be asked for, as an entry at `index` finds it.
    ///
    /// A crash can leave verdicts on disk whose entries are going to be applied again; they
    /// do not count before that.
    pub(crate) fn resolved<T>(
        &self,
        id: TransactionId,
        index: u64,
        look: impl FnOnce(&Resolved) -> T,
    ) -> Result<Option<T>, StateError> {
        let stamp_ms = self.stamp_ms;
        if let Some(resolved) = self.transactions.resolved(id) {
            return Ok((stamp_ms < resolved.expires_at_ms).then(|| look(resolved)));
        }
        if !self.transactions.may_be_on_disk(id) {
            return Ok(None);
        }
        let Some(bytes) = self.store.get(Table::Resolved, &id.0.to_be_bytes())? else {
            return Ok(None);
        };
        let resolved = record::read_resolved(&bytes)?;
        let counts = stamp_ms < resolved.expires_at_ms && resolved.index < index;
        Ok(counts.then(|| look(&resolved)))
    }
}

fn check_replacements(
    id: TransactionId,
    pending: &Pending,
    replacements: &[(u32, Span)],
) -> Result<(), Refusal> {
    let messages = pending.messages.len() as u32;
    if let Some(&(message, _)) = replacements.iter().find(|(place, _)| *place >= messages) {
        return Err(Refusal::UnknownMessage {
            id,
            message,
            messages,
        });
    }
    for (message, place) in pending.messages.iter().zip(0_u32..) {
        if message.from_fence && !replacements.iter().any(|(of, _)| *of == place) {
            return Err(Refusal::PayloadMissing { id, message: place });
        }
    }
    Ok(())
}

/// Messages that may have to wait after the commit until they are due.
fn delayed(messages: &[RecordedMessage<'_>]) -> u64 {
    let here = messages.iter().filter(|one| !is_there(one));
    here.filter(|one| one.deliver_at_ms != 0).count() as u64
}

/// Messages that have to wait for another data group after the commit.
fn outgoing(messages: &[RecordedMessage<'_>]) -> u64 {
    messages.iter().filter(|one| is_there(one)).count() as u64
}

fn is_there(message: &RecordedMessage<'_>) -> bool {
    matches!(message.destination, RecordedDestination::There { .. })
}

fn destination(message: &RecordedMessage<'_>) -> Destination {
    match message.destination {
        RecordedDestination::Here(topic) => Destination::Here(topic),
        RecordedDestination::There { group, topic } => Destination::There {
            group,
            topic: topic.into(),
        },
    }
}

fn audit(context: &Context, action: AuditAction, reason: &str) -> AuditEntry {
    AuditEntry {
        at_ms: context.stamp_ms,
        action,
        reason: reason.to_owned(),
    }
}

fn refused(id: TransactionId, error: &Error) -> Outcome {
    Outcome::Refused(match *error {
        Error::NotFound => Refusal::TransactionNotFound(id),
        Error::Contradiction { recorded, .. } => Refusal::TransactionContradiction { id, recorded },
        Error::ContentDiffers => Refusal::TransactionContentDiffers(id),
        Error::NotParked { .. } => Refusal::TransactionNotParked(id),
        Error::AlreadyResolved { recorded } => Refusal::TransactionResolved { id, recorded },
    })
}
