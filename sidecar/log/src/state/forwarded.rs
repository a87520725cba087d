//! The commands by which messages get from one data group to another.
//!
//! The source numbers what it has for a target without gaps and keeps it until the target has
//! it. The target keeps the last number that it has delivered, so a repetition is recognised
//! whatever got lost between the two, and whoever leads them.

use super::delayed::DelayedMessage;
use super::machine::{Context, Machine};
use crate::command::{Durability, Outcome, RecordedForwarded, Refusal, TOPIC_QUEUES_MAX};

impl Machine {
    pub(super) fn forwarded(
        &mut self,
        context: &Context,
        source: u32,
        first: u64,
        queues: u32,
        messages: &[RecordedForwarded<'_>],
    ) -> Outcome {
        let mut last_number = self.incoming.last_number(source);
        if first > last_number.saturating_add(1) {
            return Outcome::Refused(Refusal::ForwardGap {
                source_group: source,
                expected: last_number.saturating_add(1),
                got: first,
            });
        }
        for (message, number) in messages.iter().zip(first..) {
            if number > last_number {
                self.deliver_forwarded(context, queues, message);
                last_number = number;
            }
        }
        if last_number > self.incoming.last_number(source) {
            self.incoming.delivered(source, last_number);
        }
        Outcome::Forwarded { upto: last_number }
    }

    /// The transaction is committed: nothing may refuse the message any more.
    fn deliver_forwarded(
        &mut self,
        context: &Context,
        queues: u32,
        message: &RecordedForwarded<'_>,
    ) {
        let named = self.topics.named(message.topic);
        let topic = named.unwrap_or_else(|| {
            let queues = queues.clamp(1, TOPIC_QUEUES_MAX);
            self.make_topic(context, message.topic, queues, Durability::default())
        });
        let stored = DelayedMessage {
            topic,
            key_hash: message.key_hash,
            tag_hash: message.tag_hash,
            place: context.place(message.span),
            length: message.span.length,
        };
        self.deliver(context, stored, message.deliver_at_ms);
    }

    pub(super) fn forward_done(&mut self, target: u32, upto: u64) -> Outcome {
        let last = self.outgoing.last_number(target);
        if upto > last {
            return Outcome::Refused(Refusal::NeverOutgoing { target, upto, last });
        }
        self.outgoing.done(target, upto);
        Outcome::Applied
    }
}
