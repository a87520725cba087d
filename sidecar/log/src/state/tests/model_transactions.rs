//! The transactions of the model.

use bytes::Bytes;
use outrigger_core::half_message::Verdict;

use super::model::{Model, Transaction, delayed, outgoing};
use crate::command::{Destination, NewMessage, Outcome, Refusal, TransactionId};

impl Model {
    pub(super) fn prepare(
        &mut self,
        id: TransactionId,
        fingerprint: u128,
        messages: &[NewMessage],
    ) -> Outcome {
        if let Some(known) = self.transactions.get(&id) {
            if known.fingerprint == fingerprint {
                return Outcome::Prepared { repeated: true };
            }
            return Outcome::Refused(Refusal::TransactionContentDiffers(id));
        }
        if messages.is_empty() {
            return Outcome::Refused(Refusal::TransactionEmpty(id));
        }
        let topics = self.topics.len();
        for message in messages {
            match message.destination {
                Destination::Here(topic) if topic.0 as usize >= topics => {
                    return Outcome::Refused(Refusal::UnknownTopic(topic));
                }
                Destination::Here(_) | Destination::There { .. } => {}
            }
        }
        let limit = self.limits.unresolved_transactions_max;
        if self.unresolved() as u64 >= limit {
            return Outcome::Refused(Refusal::TooManyUnresolved { limit });
        }
        if delayed(messages) > 0 && !self.room_for_delayed(delayed(messages)) {
            return Outcome::Refused(Refusal::TooManyDelayed {
                limit: self.limits.delayed_messages_max,
            });
        }
        if outgoing(messages) > 0 && !self.room_for_outgoing(outgoing(messages)) {
            return Outcome::Refused(Refusal::TooManyOutgoing {
                limit: self.limits.outgoing_messages_max,
            });
        }
        let transaction = Transaction {
            fingerprint,
            parked: false,
            verdict: None,
            messages: messages.to_vec(),
        };
        self.transactions.insert(id, transaction);
        Outcome::Prepared { repeated: false }
    }

    pub(super) fn resolve(
        &mut self,
        now_ms: u64,
        id: TransactionId,
        verdict: Verdict,
        replacements: &[(u32, Bytes)],
    ) -> Outcome {
        let Some(transaction) = self.transactions.get_mut(&id) else {
            return Outcome::Refused(Refusal::TransactionNotFound(id));
        };
        match transaction.verdict {
            Some((recorded, _)) if recorded == verdict => {
                return Outcome::Resolved { repeated: true };
            }
            Some((recorded, _)) => {
                return Outcome::Refused(Refusal::TransactionContradiction { id, recorded });
            }
            None => {}
        }
        let mut messages = transaction.messages.clone();
        if verdict == Verdict::Commit {
            let count = messages.len() as u32;
            for (place, _) in replacements {
                if *place >= count {
                    return Outcome::Refused(Refusal::UnknownMessage {
                        id,
                        message: *place,
                        messages: count,
                    });
                }
            }
            for (place, message) in messages.iter_mut().enumerate() {
                let stored = replacements.iter().find(|(of, _)| *of as usize == place);
                match stored {
                    Some((_, stored)) => message.stored = stored.clone(),
                    None if message.from_fence => {
                        return Outcome::Refused(Refusal::PayloadMissing {
                            id,
                            message: place as u32,
                        });
                    }
                    None => {}
                }
            }
        }
        transaction.verdict = Some((verdict, now_ms));
        if verdict == Verdict::Commit {
            for message in messages {
                self.deliver(now_ms, message);
            }
        }
        Outcome::Resolved { repeated: false }
    }

    pub(super) fn park(&mut self, id: TransactionId) -> Outcome {
        match self.transactions.get_mut(&id) {
            None => Outcome::Refused(Refusal::TransactionNotFound(id)),
            Some(transaction) => match transaction.verdict {
                Some((recorded, _)) => {
                    Outcome::Refused(Refusal::TransactionResolved { id, recorded })
                }
                None => {
                    transaction.parked = true;
                    Outcome::Parked
                }
            },
        }
    }

    pub(super) fn resume(&mut self, id: TransactionId) -> Outcome {
        match self.transactions.get_mut(&id) {
            None => Outcome::Refused(Refusal::TransactionNotFound(id)),
            Some(transaction) if transaction.verdict.is_none() && transaction.parked => {
                transaction.parked = false;
                Outcome::Resumed
            }
            Some(_) => Outcome::Refused(Refusal::TransactionNotParked(id)),
        }
    }
}
