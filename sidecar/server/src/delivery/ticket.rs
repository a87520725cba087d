//! One answer for many receipts that go different ways.

use std::sync::{Arc, Mutex, PoisonError};

use outrigger_core::lease::{Receipt, ReceiptError};
use outrigger_proto::stored;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tonic::Code;

use crate::edge::status::Failure;

/// What became of the receipts of one request: errors for some of them, or a failure when
/// nobody knows.
pub(crate) type Settled = Result<Vec<stored::ReceiptError>, Failure>;

/// Who waits for the answer.
pub(super) enum Asker {
    /// A unary call.
    Call(oneshot::Sender<Settled>),
    /// A request of a stream.
    Stream {
        request_id: u64,
        results: mpsc::UnboundedSender<Answered>,
        /// Bounds the requests of a stream whose answers are not sent.
        permit: OwnedSemaphorePermit,
    },
}

/// The answer to one request of a stream.
pub(super) struct Answered {
    pub(super) request_id: u64,
    pub(super) settled: Settled,
    /// To be kept until it is sent: it bounds the answers that wait for a consumer that does
    /// not listen.
    pub(super) permit: OwnedSemaphorePermit,
}

/// The answer comes when the last [`Part`] is done.
pub(super) struct Ticket(Arc<Inner>);

struct Inner {
    asker: Mutex<Option<Asker>>,
    settled: Mutex<Settled>,
}

/// The receipts of one request that go to one queue.
pub(super) struct Part {
    ticket: Option<Arc<Inner>>,
    pub(super) receipts: Vec<Receipt>,
}

impl Ticket {
    pub(super) fn new(asker: Asker) -> Self {
        Self(Arc::new(Inner {
            asker: Mutex::new(Some(asker)),
            settled: Mutex::new(Ok(Vec::new())),
        }))
    }

    pub(super) fn part(&self, receipts: Vec<Receipt>) -> Part {
        Part {
            ticket: Some(Arc::clone(&self.0)),
            receipts,
        }
    }

    /// Refuses something that names no queue at all.
    pub(super) fn refuse(&self, receipt: bytes::Bytes, failure: Failure) {
        self.0.add([stored::ReceiptError {
            receipt,
            error: Some(failure.into()),
        }]);
    }
}

impl Part {
    /// Durable, except for these.
    pub(super) fn done(mut self, errors: impl IntoIterator<Item = (Receipt, ReceiptError)>) {
        if let Some(ticket) = self.ticket.take() {
            ticket.add(errors.into_iter().map(|(receipt, error)| {
                let failure = refusal(error).with("offset", receipt.offset);
                receipt_error(&receipt, failure)
            }));
        }
    }

    /// Nothing of it is certain.
    pub(super) fn failed(mut self, failure: &Failure) {
        if let Some(ticket) = self.ticket.take() {
            let receipts = self.receipts.iter();
            ticket.add(receipts.map(|receipt| receipt_error(receipt, failure.clone())));
        }
    }
}

impl Drop for Part {
    /// Whoever held it went away: that must never look like success.
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            let mut settled = lock(&ticket.settled);
            *settled = Err(Failure::new(
                Code::Unavailable,
                "OUTCOME_UNKNOWN",
                "the worker ended before this was recorded; it may be repeated",
            ));
        }
    }
}

impl Inner {
    fn add(&self, errors: impl IntoIterator<Item = stored::ReceiptError>) {
        if let Ok(all) = &mut *lock(&self.settled) {
            all.extend(errors);
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let settled = std::mem::replace(&mut *lock(&self.settled), Ok(Vec::new()));
        // Nobody may be waiting any more; then nobody needs to know.
        match lock(&self.asker).take() {
            Some(Asker::Call(asker)) => _ = asker.send(settled),
            Some(Asker::Stream {
                request_id,
                results,
                permit,
            }) => {
                _ = results.send(Answered {
                    request_id,
                    settled,
                    permit,
                });
            }
            None => {}
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn receipt_error(receipt: &Receipt, failure: Failure) -> stored::ReceiptError {
    stored::ReceiptError {
        receipt: receipt.encode(),
        error: Some(failure.into()),
    }
}

fn refusal(error: ReceiptError) -> Failure {
    let (code, reason) = match error {
        ReceiptError::Stale => (Code::FailedPrecondition, "STALE_RECEIPT"),
        ReceiptError::Unknown => (Code::NotFound, "UNKNOWN_RECEIPT"),
        ReceiptError::Settled => (Code::FailedPrecondition, "RECEIPT_SETTLED"),
    };
    Failure::new(code, reason, error.to_string()).with("field", "receipt")
}
