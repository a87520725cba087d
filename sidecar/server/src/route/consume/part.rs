//! One answer for receipts that go to several data groups.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use outrigger_proto::stored::{ConsumeRequest, ConsumeResult, Extend, Nack, ReceiptError};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tonic::Status;

use crate::{
    edge::status::Failure,
    route::{failure, receipt},
};

/// What a request says of the leases of one data group, with the receipts as it knows them.
#[derive(Debug)]
pub(super) struct Part {
    group: u32,
    pub(super) acks: Vec<Bytes>,
    pub(super) nacks: Vec<Nack>,
    pub(super) extends: Vec<Extend>,
    ticket: Arc<Ticket>,
    is_answered: bool,
}

/// The result of one request. It is told when the last part is answered, and never when one
/// of them is dropped without an answer: the client has to say it again elsewhere.
#[derive(Debug)]
struct Ticket {
    request_id: u64,
    errors: Mutex<Vec<ReceiptError>>,
    is_broken: AtomicBool,
    /// Nobody waits for the result of what the router itself gives back.
    asker: Option<Asker>,
}

#[derive(Debug)]
struct Asker {
    results: mpsc::UnboundedSender<Settled>,
    /// Its share of the requests whose results are not told.
    room: OwnedSemaphorePermit,
}

/// What is to be told of one request.
#[derive(Debug)]
pub(super) struct Settled {
    pub(super) result: ConsumeResult,
    /// To be kept until it is told: it bounds the results that wait for a client that does
    /// not listen.
    pub(super) room: OwnedSemaphorePermit,
}

/// The parts of a request that has any receipts.
pub(super) fn split(
    request: ConsumeRequest,
    groups: u32,
    results: mpsc::UnboundedSender<Settled>,
    room: OwnedSemaphorePermit,
) -> Vec<Part> {
    let ticket = Arc::new(Ticket {
        request_id: request.request_id,
        errors: Mutex::default(),
        is_broken: AtomicBool::new(false),
        asker: Some(Asker { results, room }),
    });
    let mut parts = BTreeMap::<u32, Part>::new();
    let find = |wrapped: &Bytes| -> Option<(u32, Bytes)> {
        match receipt::unwrap(wrapped, groups) {
            Ok(found) => Some(found),
            Err(failure) => {
                ticket.refuse(wrapped.clone(), failure);
                None
            }
        }
    };
    for ack in &request.acks {
        if let Some((group, receipt)) = find(ack) {
            let part = parts
                .entry(group)
                .or_insert_with(|| Part::new(group, &ticket));
            part.acks.push(receipt);
        }
    }
    for nack in request.nacks {
        if let Some((group, receipt)) = find(&nack.receipt) {
            let part = parts
                .entry(group)
                .or_insert_with(|| Part::new(group, &ticket));
            part.nacks.push(Nack { receipt, ..nack });
        }
    }
    for extend in request.extends {
        if let Some((group, receipt)) = find(&extend.receipt) {
            let part = parts
                .entry(group)
                .or_insert_with(|| Part::new(group, &ticket));
            part.extends.push(Extend { receipt, ..extend });
        }
    }
    parts.into_values().collect()
}

impl Part {
    fn new(group: u32, ticket: &Arc<Ticket>) -> Self {
        Self {
            group,
            acks: Vec::new(),
            nacks: Vec::new(),
            extends: Vec::new(),
            ticket: Arc::clone(ticket),
            is_answered: false,
        }
    }

    /// Gives a message back at once, whose receipt a client would have got. Nobody waits for
    /// an answer to that.
    pub(super) fn give_back(wrapped: &Bytes, groups: u32) -> Option<(u32, Self)> {
        let (group, receipt) = receipt::unwrap(wrapped, groups).ok()?;
        let ticket = Arc::new(Ticket {
            request_id: 0,
            errors: Mutex::default(),
            is_broken: AtomicBool::new(false),
            asker: None,
        });
        let mut part = Self::new(group, &ticket);
        part.nacks.push(Nack {
            receipt,
            delay_ms: Some(0),
        });
        Some((group, part))
    }

    /// The data group that it is for.
    pub(super) fn group(&self) -> u32 {
        self.group
    }

    /// As a request for the data group.
    pub(super) fn request(&self, request_id: u64) -> ConsumeRequest {
        ConsumeRequest {
            request_id,
            acks: self.acks.clone(),
            nacks: self.nacks.clone(),
            extends: self.extends.clone(),
            ..ConsumeRequest::default()
        }
    }

    /// The data group has answered, with these errors.
    pub(super) fn answered(mut self, errors: Vec<ReceiptError>) {
        self.is_answered = true;
        let wrapped = errors.into_iter().map(|error| ReceiptError {
            receipt: receipt::wrap(self.group, &error.receipt),
            ..error
        });
        self.ticket.lock().extend(wrapped);
    }

    /// The data group cannot be asked, or refuses all of it.
    pub(super) fn failed(self, status: &Status) {
        let error = failure::error(status);
        let nacks = self.nacks.iter().map(|nack| &nack.receipt);
        let extends = self.extends.iter().map(|extend| &extend.receipt);
        let receipts = self.acks.iter().chain(nacks).chain(extends);
        let errors = receipts.map(|receipt| ReceiptError {
            receipt: receipt.clone(),
            error: Some(error.clone()),
        });
        let errors = errors.collect();
        self.answered(errors);
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.is_answered {
            self.ticket.is_broken.store(true, Ordering::Release);
        }
    }
}

impl Ticket {
    fn refuse(&self, receipt: Bytes, failure: Failure) {
        let error = Some(failure.into());
        self.lock().push(ReceiptError { receipt, error });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<ReceiptError>> {
        self.errors.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if *self.is_broken.get_mut() {
            return;
        }
        let errors = std::mem::take(&mut *self.lock());
        if let Some(Asker { results, room }) = self.asker.take() {
            let request_id = self.request_id;
            let result = ConsumeResult { request_id, errors };
            // The client may be gone.
            let _ = results.send(Settled { result, room });
        }
    }
}
