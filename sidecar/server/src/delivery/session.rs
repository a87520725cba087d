use std::{pin::pin, sync::Arc, time::Duration};

use futures::{Stream, StreamExt as _};
use outrigger_core::limits::CREDITS_COUNT_MAX;
use outrigger_proto::stored::{ConsumeResponse, ConsumeResult};
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::{
    GroupInfo, Service, Settle,
    frames::next_frame,
    member::{Batch, Credits, Member},
    service::{Wanted, conflict, shutting_down},
    ticket::{Answered, Asker},
    worker::{Call, Conflict, Worker},
};
use crate::edge::status::Failure;

/// What opens a Consume stream, checked.
pub(crate) struct Subscribed {
    pub(crate) group: GroupInfo,
    pub(crate) wanted: Vec<Wanted>,
    pub(crate) invisible_ms: u64,
    pub(crate) credits: u32,
}

/// One request of a Consume stream, checked.
pub(crate) struct Asked {
    pub(crate) credits: u32,
    pub(crate) request_id: u64,
    pub(crate) settle: Settle,
}

/// A consumer that has joined the workers of its topics. Leaves them when dropped.
pub(super) struct Membership {
    id: u64,
    pub(super) credits: Arc<Credits>,
    pub(super) workers: Vec<Arc<Worker>>,
    pub(super) batches: mpsc::UnboundedReceiver<Batch>,
}

impl Service {
    /// Joins the workers of all wanted topics, or none.
    pub(super) async fn join(
        &self,
        group: &GroupInfo,
        wanted: Vec<Wanted>,
        invisible_ms: u64,
        credits: u32,
    ) -> Result<Membership, Failure> {
        let (deliver, batches) = mpsc::unbounded_channel();
        let mut membership = Membership {
            id: self.next_member(),
            credits: Credits::new(credits),
            workers: Vec::with_capacity(wanted.len()),
            batches,
        };
        for Wanted { topic, filter } in wanted {
            let worker = self.registry.worker(group, &topic);
            let member = Member {
                id: membership.id,
                credits: Arc::clone(&membership.credits),
                invisible_ms,
                deliver: deliver.clone(),
            };
            let (joined, answer) = oneshot::channel();
            let call = Call::Join {
                member,
                filter,
                joined,
            };
            membership.workers.push(Arc::clone(&worker));
            worker.calls.send(call).await.map_err(|_| shutting_down())?;
            let answer = answer.await.map_err(|_| shutting_down())?;
            answer.map_err(|Conflict| conflict(topic.id, group))?;
        }
        Ok(membership)
    }

    /// Runs a Consume stream; the answers come out of the returned one.
    pub(crate) async fn consume(
        &self,
        subscribed: Subscribed,
        requests: impl Stream<Item = Result<Asked, Status>> + Send + Unpin + 'static,
    ) -> Result<ReceiverStream<Result<ConsumeResponse, Status>>, Failure> {
        let Subscribed {
            group,
            wanted,
            invisible_ms,
            credits,
        } = subscribed;
        let membership = self.join(&group, wanted, invisible_ms, credits).await?;
        let (frames, responses) = mpsc::channel(self.options.frames_waiting_max);
        let (results, settled) = mpsc::unbounded_channel();
        let (ended, end) = oneshot::channel();
        let inbound = Inbound {
            service: self.clone(),
            group,
            credits: Arc::clone(&membership.credits),
            workers: membership.workers.clone(),
            results,
        };
        tokio::spawn(async move {
            let status = inbound.run(requests).await;
            // The other half may have ended first.
            let _ = ended.send(status);
        });
        let outbound = Outbound {
            service: self.clone(),
            membership,
            settled,
            frames,
        };
        tokio::spawn(outbound.run(end));
        Ok(ReceiverStream::new(responses))
    }
}

impl Membership {
    pub(super) fn wake(&self) {
        wake(&self.workers);
    }

    /// Leaves its workers: nothing more comes than what is in the channel already.
    pub(super) async fn stop(&mut self) {
        self.credits.take(u32::MAX);
        for worker in self.workers.drain(..) {
            let member = self.id;
            let (left, answer) = oneshot::channel();
            // A worker that has ended has no members.
            if worker
                .calls
                .send(Call::Leave { member, left })
                .await
                .is_ok()
            {
                let _ = answer.await;
            }
        }
    }
}

impl Drop for Membership {
    /// A caller that went away in the middle leaves by itself: the channel is closed, what
    /// is in it runs out, and nothing more comes.
    fn drop(&mut self) {
        self.credits.take(u32::MAX);
        self.batches.close();
        let mut left = Vec::new();
        while let Ok(batch) = self.batches.try_recv() {
            left.push(batch);
        }
        for batch in left {
            // Full means busy: then the leases run out.
            let _ = batch.worker.calls.try_send(Call::Release(batch.receipts()));
        }
        for worker in &self.workers {
            let (left, _) = oneshot::channel();
            let _ = worker.calls.try_send(Call::Leave {
                member: self.id,
                left,
            });
        }
    }
}

async fn give_back(batch: &Batch) {
    let _ = batch
        .worker
        .calls
        .send(Call::Release(batch.receipts()))
        .await;
}

fn wake(workers: &[Arc<Worker>]) {
    workers
        .iter()
        .for_each(|worker| worker.more_credits.notify_one());
}

/// What the consumer says.
struct Inbound {
    service: Service,
    group: GroupInfo,
    credits: Arc<Credits>,
    workers: Vec<Arc<Worker>>,
    results: mpsc::UnboundedSender<Answered>,
}

impl Inbound {
    /// Ends when the consumer does; the answer is why, if there is something wrong.
    async fn run(
        self,
        mut requests: impl Stream<Item = Result<Asked, Status>> + Unpin,
    ) -> Option<Status> {
        let waiting = Arc::new(Semaphore::new(self.service.options.requests_waiting_max));
        while let Some(request) = requests.next().await {
            let Asked {
                credits,
                request_id,
                settle,
            } = match request {
                Ok(asked) => asked,
                Err(status) => return Some(status),
            };
            if credits > 0 {
                if !self.credits.add(credits, CREDITS_COUNT_MAX) {
                    return Some(too_many_credits(credits).into());
                }
                wake(&self.workers);
            }
            if !settle.is_empty() {
                let permit = Arc::clone(&waiting).acquire_owned().await.ok()?;
                let asker = Asker::Stream {
                    request_id,
                    results: self.results.clone(),
                    permit,
                };
                self.service
                    .route(&self.group, &self.workers, settle, asker)
                    .await;
            }
        }
        None
    }
}

pub(crate) fn too_many_credits(credits: u32) -> Failure {
    let limit = format_args!("at most {CREDITS_COUNT_MAX} outstanding");
    Failure::invalid("TOO_MANY_CREDITS", "credits", credits, limit)
}

/// What the consumer is told.
struct Outbound {
    service: Service,
    membership: Membership,
    settled: mpsc::UnboundedReceiver<Answered>,
    frames: mpsc::Sender<Result<ConsumeResponse, Status>>,
}

impl Outbound {
    async fn run(mut self, mut end: oneshot::Receiver<Option<Status>>) {
        let mut drained = pin!(self.service.drained());
        let status = loop {
            let frames = self.frames.clone();
            let sent = tokio::select! {
                biased;
                Some(settled) = self.settled.recv() => self.send_results(settled).await,
                status = &mut end => break status.ok().flatten(),
                () = frames.closed() => break None,
                why = &mut drained => break Some(why.into()),
                Some(batch) = self.membership.batches.recv() => self.send_batch(batch).await,
            };
            match sent {
                Ok(true) => {}
                Ok(false) => break None,
                Err(failure) => break Some(failure.into()),
            }
        };
        self.finish(status).await;
    }

    /// Leaves the workers, tells the results that are still to come, and ends the stream.
    async fn finish(mut self, status: Option<Status>) {
        let Self {
            service,
            membership,
            ..
        } = &mut self;
        membership.stop().await;
        while let Ok(batch) = membership.batches.try_recv() {
            give_back(&batch).await;
        }
        let drain = Duration::from_millis(service.options.drain_ms);
        let results = async {
            // Ends when the inbound half has ended and every request is answered.
            while let Some(settled) = self.settled.recv().await {
                if !matches!(self.send_results(settled).await, Ok(true)) {
                    break;
                }
            }
        };
        // On a drain the consumer may go on acking: it has this long.
        let _ = timeout(drain, results).await;
        if let Some(status) = status {
            let _ = self.frames.send(Err(status)).await;
        }
    }

    /// Sends what is settled, in one response; false when the consumer went away.
    async fn send_results(&mut self, first: Answered) -> Result<bool, Failure> {
        let mut results = Vec::new();
        let mut permits = Vec::new();
        let mut next = Some(first);
        while let Some(answered) = next {
            let request_id = answered.request_id;
            let errors = answered.settled?;
            results.push(ConsumeResult { request_id, errors });
            permits.push(answered.permit);
            next = self.settled.try_recv().ok();
        }
        let response = ConsumeResponse {
            deliveries: Vec::new(),
            results,
        };
        let connected = self.frames.send(Ok(response)).await.is_ok();
        // Only then the consumer may ask for more: so nothing piles up when it does not listen.
        drop(permits);
        Ok(connected)
    }

    async fn send_batch(&mut self, mut batch: Batch) -> Result<bool, Failure> {
        let mut unsent = 0;
        let mut connected = true;
        while connected && !batch.messages.is_empty() {
            let (store, options) = (&*self.service.store, &*self.service.options);
            let deliveries = next_frame(store, options, &mut batch, &mut unsent).await?;
            if deliveries.is_empty() {
                continue;
            }
            let response = ConsumeResponse {
                deliveries,
                results: Vec::new(),
            };
            connected = self.frames.send(Ok(response)).await.is_ok();
        }
        if unsent > 0 {
            self.membership.credits.put_back(unsent);
            self.membership.wake();
        }
        if !batch.messages.is_empty() {
            give_back(&batch).await;
        }
        Ok(connected)
    }
}
