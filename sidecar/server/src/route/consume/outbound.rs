use std::{collections::VecDeque, sync::Arc, time::Duration};

use outrigger_proto::stored::{ConsumeResponse, Delivery};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::timeout,
};
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;

use super::{
    desk::Desk,
    part::{Part, Settled},
};
use crate::{clock, delivery::shutting_down, route::router::Groups};

type Told = Result<ConsumeResponse, Status>;
type Links = JoinSet<Result<(), Status>>;
type Results = mpsc::UnboundedReceiver<Settled>;
type Deliveries = mpsc::Receiver<(usize, Vec<Delivery>)>;

/// What the client is told.
pub(super) struct Outbound {
    pub(super) groups: Arc<Groups>,
    pub(super) desk: Arc<Desk>,
    pub(super) frames: mpsc::Sender<Told>,
    pub(super) links: Links,
    /// To the links, by data group.
    pub(super) parts: Vec<(u32, mpsc::UnboundedSender<Part>)>,
    /// Messages that wait for the client to want them, and the places of their links.
    pub(super) held: VecDeque<(usize, Delivery)>,
}

/// The client does not listen any more.
struct Gone;

impl Outbound {
    /// Until the client or the stream ends; `reading` is the half that listens to the client.
    pub(super) async fn run(
        mut self,
        mut deliveries: Deliveries,
        mut settled: Results,
        mut end: oneshot::Receiver<Result<(), Status>>,
        reading: AbortOnDropHandle<()>,
    ) {
        let groups = Arc::clone(&self.groups);
        let desk = Arc::clone(&self.desk);
        let frames = self.frames.clone();
        let status = loop {
            let told = tokio::select! {
                biased;
                Some(result) = settled.recv() => self.tell_results(result, &mut settled).await,
                ended = &mut end => break ended.unwrap_or(Ok(())).err(),
                () = frames.closed() => break None,
                () = groups.closing.cancelled() => break Some(shutting_down().into()),
                Some(ended) = self.links.join_next() => match ended {
                    // A link ends by itself only when it is refused.
                    Ok(Ok(())) | Err(_) => break Some(Status::internal("a link has ended")),
                    Ok(Err(status)) => break Some(status),
                },
                () = desk.wanted.notified() => self.tell_held().await,
                Some((link, deliveries)) = deliveries.recv() => {
                    self.tell_deliveries(link, deliveries).await
                }
            };
            if told.is_err() {
                break None;
            }
        };
        // The client may say something yet, but not here.
        drop(reading);
        let drain = Duration::from_millis(self.groups.options.drain_ms);
        let finishing = self.finish(&mut deliveries, &mut settled);
        if timeout(drain, finishing).await.is_err() {
            tracing::debug!("a Consume stream ended before all its data groups had answered");
        }
        if let Some(status) = status {
            // An error means that the client is gone.
            let _ = frames.send(Err(status)).await;
        }
    }

    /// Gives back what is held, and tells what the data groups still answer.
    async fn finish(&mut self, deliveries: &mut Deliveries, settled: &mut Results) {
        let groups = self.groups.placement.groups();
        let parts = std::mem::take(&mut self.parts);
        for (_, delivery) in self.held.drain(..) {
            let part = Part::give_back(&delivery.receipt, groups);
            let to = part.and_then(|(group, part)| {
                let (_, link) = parts.iter().find(|(known, _)| *known == group)?;
                Some((link, part))
            });
            if let Some((link, part)) = to {
                // A link that has ended has lost its leases.
                let _ = link.send(part);
            }
        }
        // Links whom nobody can say anything any more end with their last answer.
        drop(parts);
        loop {
            let told = tokio::select! {
                biased;
                Some(result) = settled.recv() => self.tell_results(result, settled).await,
                Some((link, deliveries)) = deliveries.recv() => {
                    self.tell_deliveries(link, deliveries).await
                }
                ended = self.links.join_next() => match ended {
                    Some(_) => Ok(()),
                    None => break,
                },
            };
            if told.is_err() {
                // Nobody hears it, but the links go on to their end.
                while self.links.join_next().await.is_some() {}
                return;
            }
        }
        while let Ok(result) = settled.try_recv() {
            if self.tell_results(result, settled).await.is_err() {
                return;
            }
        }
    }

    /// Tells what is settled, in one response.
    async fn tell_results(&mut self, first: Settled, settled: &mut Results) -> Result<(), Gone> {
        let mut results = Vec::new();
        let mut rooms = Vec::new();
        let mut next = Some(first);
        while let Some(Settled { result, room }) = next {
            results.push(result);
            rooms.push(room);
            next = settled.try_recv().ok();
        }
        // Only then the client may ask for more: so nothing piles up when it does not listen.
        let told = self
            .tell(ConsumeResponse {
                results,
                ..ConsumeResponse::default()
            })
            .await;
        drop(rooms);
        told
    }

    /// Gives the client what it wants of what a link has brought, and keeps the rest.
    async fn tell_deliveries(
        &mut self,
        link: usize,
        mut deliveries: Vec<Delivery>,
    ) -> Result<(), Gone> {
        let taken = self.desk.take(link, deliveries.len());
        let rest = deliveries.split_off(taken);
        self.held
            .extend(rest.into_iter().map(|delivery| (link, delivery)));
        self.deliver(deliveries).await
    }

    /// Gives the client of what is held what it wants now. A message whose lease is over is
    /// somebody else's by now.
    async fn tell_held(&mut self) -> Result<(), Gone> {
        let now_ms = clock::now_ms();
        let mut deliveries = Vec::new();
        while let Some((link, delivery)) = self.held.front() {
            if delivery.lease_deadline_ms <= now_ms {
                self.desk.gone(*link);
                self.held.pop_front();
            } else if self.desk.take(*link, 1) == 1 {
                deliveries.extend(self.held.pop_front().map(|(_, delivery)| delivery));
            } else {
                break;
            }
        }
        self.deliver(deliveries).await
    }

    async fn deliver(&mut self, deliveries: Vec<Delivery>) -> Result<(), Gone> {
        if deliveries.is_empty() {
            return Ok(());
        }
        self.tell(ConsumeResponse {
            deliveries,
            ..ConsumeResponse::default()
        })
        .await
    }

    async fn tell(&mut self, response: ConsumeResponse) -> Result<(), Gone> {
        self.frames.send(Ok(response)).await.map_err(|_| Gone)
    }
}
