//! From the receipts of a request to the queues that they name.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use outrigger_core::{
    lease::{Extend, Nack, Receipt},
    limits::{DELAY_MS_MAX, LEASE_MS_MAX, LEASE_MS_MIN},
};
use outrigger_log::command::TopicId;
use tonic::Code;

use super::{
    GroupInfo, Service,
    ticket::{Asker, Ticket},
    worker::{Call, How, Worker},
};
use crate::edge::status::Failure;

/// What a request asks to become of leases.
#[derive(Debug, Default)]
pub(crate) struct Settle {
    pub(crate) acks: Vec<Bytes>,
    pub(crate) nacks: Vec<AskedNack>,
    pub(crate) extends: Vec<AskedExtend>,
}

/// See [`Nack`].
#[derive(Debug)]
pub(crate) struct AskedNack {
    pub(crate) receipt: Bytes,
    pub(crate) delay_ms: Option<u64>,
}

/// See [`Extend`].
#[derive(Debug)]
pub(crate) struct AskedExtend {
    pub(crate) receipt: Bytes,
    pub(crate) invisible_ms: u64,
}

/// The receipts of one queue.
#[derive(Default)]
struct Queued {
    acks: Vec<Receipt>,
    nacks: Vec<Nack>,
    extends: Vec<Extend>,
}

type Routed = BTreeMap<u32, BTreeMap<u32, Queued>>;

impl Settle {
    pub(crate) fn is_empty(&self) -> bool {
        self.acks.is_empty() && self.nacks.is_empty() && self.extends.is_empty()
    }

    /// Sorts the receipts by topic and queue; what is no receipt of this group is refused.
    fn route(self, group: &GroupInfo, ticket: &Ticket) -> Routed {
        let mut routed = Routed::new();
        let to = |receipt: &Bytes| match own(receipt, group) {
            Ok(known) => Some(known),
            Err(failure) => {
                ticket.refuse(receipt.clone(), failure);
                None
            }
        };
        for receipt in &self.acks {
            if let Some(known) = to(receipt) {
                queued(&mut routed, &known).acks.push(known);
            }
        }
        for nack in &self.nacks {
            let checked = within("delay_ms", nack.delay_ms.unwrap_or(0), 0, DELAY_MS_MAX);
            if let Err(failure) = checked {
                ticket.refuse(nack.receipt.clone(), failure);
            } else if let Some(receipt) = to(&nack.receipt) {
                let delay_ms = nack.delay_ms;
                queued(&mut routed, &receipt)
                    .nacks
                    .push(Nack { receipt, delay_ms });
            }
        }
        for extend in &self.extends {
            let invisible_ms = extend.invisible_ms;
            let checked = within("invisible_ms", invisible_ms, LEASE_MS_MIN, LEASE_MS_MAX);
            if let Err(failure) = checked {
                ticket.refuse(extend.receipt.clone(), failure);
            } else if let Some(receipt) = to(&extend.receipt) {
                let extends = &mut queued(&mut routed, &receipt).extends;
                extends.push(Extend {
                    receipt,
                    invisible_ms,
                });
            }
        }
        routed
    }
}

fn queued<'a>(routed: &'a mut Routed, receipt: &Receipt) -> &'a mut Queued {
    let topic = routed.entry(receipt.place.topic).or_default();
    topic.entry(receipt.place.queue).or_default()
}

fn own(receipt: &Bytes, group: &GroupInfo) -> Result<Receipt, Failure> {
    let refused = |message: String| {
        Failure::new(Code::InvalidArgument, "ILLEGAL_RECEIPT", message).with("field", "receipt")
    };
    let known = Receipt::decode(receipt).map_err(|error| refused(error.to_string()))?;
    if known.place.group == group.id.0 {
        return Ok(known);
    }
    Err(refused(
        "the receipt is of another consumer group".to_owned(),
    ))
}

fn within(field: &'static str, value: u64, min: u64, max: u64) -> Result<(), Failure> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    let limit = format_args!("{min} to {max} ms");
    Err(Failure::invalid("OUT_OF_BOUNDS", field, value, limit))
}

impl Service {
    /// Passes what a request asks on to the workers. `subscribed` are those that the
    /// consumer has at hand.
    pub(super) async fn route(
        &self,
        group: &GroupInfo,
        subscribed: &[Arc<Worker>],
        settle: Settle,
        asker: Asker,
    ) {
        let ticket = Ticket::new(asker);
        for (topic, queues) in settle.route(group, &ticket) {
            let at_hand = subscribed.iter().find(|worker| worker.topic.id.0 == topic);
            let worker = match at_hand {
                Some(worker) => Some(Arc::clone(worker)),
                None => self.worker_of(group, TopicId(topic)),
            };
            let Some(worker) = worker else {
                refuse_topic(&ticket, queues);
                continue;
            };
            let mut calls = Vec::with_capacity(queues.len());
            for (queue, queued) in queues {
                if !queued.acks.is_empty() {
                    calls.push((queue, How::Ack(ticket.part(queued.acks))));
                }
                if !queued.nacks.is_empty() {
                    let receipts = queued.nacks.iter().map(|nack| nack.receipt).collect();
                    calls.push((queue, How::Nack(ticket.part(receipts), queued.nacks)));
                }
                if !queued.extends.is_empty() {
                    let receipts = queued.extends.iter().map(|extend| extend.receipt).collect();
                    calls.push((queue, How::Extend(ticket.part(receipts), queued.extends)));
                }
            }
            // A worker that is gone drops the parts, and the asker learns of it.
            let _ = worker.calls.send(Call::Settle(calls)).await;
        }
    }
}

fn refuse_topic(ticket: &Ticket, queues: BTreeMap<u32, Queued>) {
    for queued in queues.into_values() {
        let nacks = queued.nacks.into_iter().map(|nack| nack.receipt);
        let extends = queued.extends.into_iter().map(|extend| extend.receipt);
        for receipt in queued.acks.into_iter().chain(nacks).chain(extends) {
            let message = "no such lease was given out";
            let failure = Failure::new(Code::NotFound, "UNKNOWN_RECEIPT", message);
            ticket.refuse(receipt.encode(), failure.with("field", "receipt"));
        }
    }
}
