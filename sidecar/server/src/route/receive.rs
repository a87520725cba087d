//! Receive over several data groups.
//!
//! Nothing is leased that is not wanted, so the messages that are asked for are divided among
//! the data groups, and each is asked for its share; when there are fewer messages than data
//! groups they take turns. All of them are asked at the same time, first for what they have, and
//! then, while there is nothing, again and again for a short time each: a call that waits
//! somewhere cannot be taken back without the risk that its messages are leased to nobody.
//!
//! A data group that does not answer in time is not waited for. What it says later is given
//! back.

use std::{sync::Arc, time::Duration};

use http::{Request, Response};
use outrigger_core::limits::{BATCH_COUNT_MAX, RECEIVE_COUNT_DEFAULT, RECEIVE_WAIT_MS_MAX};
use outrigger_proto::stored::{
    Delivery, Nack, NackRequest, ReceiveRequest, ReceiveResponse, Subscribe,
    consumer_client::ConsumerClient,
};
use tokio::{
    task::JoinSet,
    time::{Instant, timeout_at},
};
use tonic::{Code, Status, body::Body};

use super::{consume::shares, receipt, router::Groups, wire, wire::Head};

/// How long the data groups are asked to wait for a message at a time.
const SLICE_MS: u64 = 100;
/// How long the others may take when one of them has answered.
const GRACE_MS: u64 = 100;

/// The call Receive.
pub(super) async fn receive(
    groups: Arc<Groups>,
    request: Request<Body>,
) -> Result<Response<Body>, Status> {
    let (head, message) = wire::read(request, groups.options.request_bytes_max).await?;
    let asked: ReceiveRequest = wire::decode(&message)?;
    let wait_ms = asked.wait_ms;
    let wanted = match asked.max_messages {
        0 => RECEIVE_COUNT_DEFAULT,
        count => count,
    };
    let mut poll = Poll::new(groups, head, asked);
    let is_legal = wanted as usize <= BATCH_COUNT_MAX && wait_ms <= RECEIVE_WAIT_MS_MAX;
    let deliveries = match poll.sources.as_mut_slice() {
        [_, _, ..] if is_legal => poll.run(wanted, wait_ms).await?,
        // All of it is for one data group, or is refused there in the same words as everywhere.
        _ => poll.alone(wait_ms).await?,
    };
    Ok(wire::answer(&ReceiveResponse { deliveries }))
}

/// A data group that some of the topics lie in.
struct Source {
    group: u32,
    request: ReceiveRequest,
    /// What it may still lease for a call that it has not answered.
    under_way: u32,
}

struct Poll {
    groups: Arc<Groups>,
    head: Head,
    sources: Vec<Source>,
    /// Whose turn it is.
    next: usize,
    calls: JoinSet<Answered>,
}

/// What a source has answered, and how many messages it was asked for.
type Answered = (usize, u32, Result<Vec<Delivery>, Status>);

impl Poll {
    fn new(groups: Arc<Groups>, head: Head, asked: ReceiveRequest) -> Self {
        let subscribe = Subscribe {
            subscriptions: asked.subscriptions.clone(),
            ..Subscribe::default()
        };
        let source = |(group, subscribe): (u32, Subscribe)| Source {
            group,
            request: ReceiveRequest {
                subscriptions: subscribe.subscriptions,
                ..asked.clone()
            },
            under_way: 0,
        };
        let sources: Vec<_> = shares(subscribe, &groups.placement)
            .into_iter()
            .map(source)
            .collect();
        let next = rand::random_range(0..sources.len().max(1));
        Self {
            groups,
            head,
            sources,
            next,
            calls: JoinSet::new(),
        }
    }

    /// Everything from the only source.
    async fn alone(&mut self, wait_ms: u64) -> Result<Vec<Delivery>, Status> {
        let asked = self
            .sources
            .first()
            .map_or(0, |source| source.request.max_messages);
        self.ask(0, asked, wait_ms)?;
        match self.calls.join_next().await {
            Some(Ok((_, _, answer))) => answer,
            Some(Err(_)) | None => Err(Status::internal("the call was not made")),
        }
    }

    async fn run(&mut self, wanted: u32, wait_ms: u64) -> Result<Vec<Delivery>, Status> {
        let until = Instant::now() + Duration::from_millis(wait_ms);
        let mut slice_ms = 0;
        let mut last_error;
        loop {
            self.share_out(wanted, slice_ms)?;
            let (deliveries, error) = self.collect(slice_ms).await?;
            last_error = error;
            if !deliveries.is_empty() {
                return Ok(deliveries);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let left_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
            slice_ms = left_ms.clamp(1, SLICE_MS);
        }
        match last_error {
            Some(error) => Err(error),
            None => Ok(Vec::new()),
        }
    }

    /// Asks those who have nothing to answer for the messages that nobody is asked for.
    fn share_out(&mut self, wanted: u32, wait_ms: u64) -> Result<(), Status> {
        let under_way: u32 = self.sources.iter().map(|source| source.under_way).sum();
        let mut left = wanted.saturating_sub(under_way);
        let count = self.sources.len();
        let turns = (0..count).map(|turn| (self.next + turn) % count.max(1));
        let idle = |place: &usize| {
            let source = self.sources.get(*place);
            source.is_some_and(|source| source.under_way == 0)
        };
        let idle: Vec<usize> = turns.filter(idle).collect();
        let mut asked = u32::try_from(idle.len()).unwrap_or(u32::MAX);
        for place in idle {
            let share = left.div_ceil(asked.max(1));
            asked -= 1;
            left -= share;
            if share > 0 {
                self.ask(place, share, wait_ms)?;
                self.next = place + 1;
            }
        }
        Ok(())
    }

    fn ask(&mut self, place: usize, share: u32, wait_ms: u64) -> Result<(), Status> {
        let Some(source) = self.sources.get_mut(place) else {
            return Ok(());
        };
        source.under_way = share;
        let group = source.group;
        let request = ReceiveRequest {
            max_messages: share,
            wait_ms,
            ..source.request.clone()
        };
        let request = wire::call(&self.head, request);
        let client = ConsumerClient::new(self.groups.way(group)?.clone());
        let mut client = client.max_decoding_message_size(self.groups.options.response_bytes_max);
        self.calls.spawn(async move {
            let answer = client.receive(request).await.map(|answer| {
                let mut deliveries = answer.into_inner().deliveries;
                for delivery in &mut deliveries {
                    delivery.receipt = receipt::wrap(group, &delivery.receipt);
                }
                deliveries
            });
            (place, share, answer)
        });
        Ok(())
    }

    /// What comes within the time, and why a data group could not be asked when none could.
    async fn collect(&mut self, slice_ms: u64) -> Result<(Vec<Delivery>, Option<Status>), Status> {
        let mut deliveries = Vec::new();
        let (mut refused, mut unavailable, mut answered) = (None, None, 0_usize);
        let mut until: Option<Instant> = None;
        loop {
            let next = match until {
                None => self.calls.join_next().await,
                Some(until) => match timeout_at(until, self.calls.join_next()).await {
                    Ok(next) => next,
                    Err(_) => break,
                },
            };
            let Some(Ok((place, _, answer))) = next else {
                break;
            };
            if let Some(source) = self.sources.get_mut(place) {
                source.under_way = 0;
            }
            match answer {
                Ok(more) => {
                    answered += 1;
                    deliveries.extend(more);
                    // Others that wait for a message do so for the whole slice.
                    let grace = Duration::from_millis(slice_ms + GRACE_MS);
                    until.get_or_insert_with(|| Instant::now() + grace);
                }
                Err(status) if status.code() == Code::Unavailable => unavailable = Some(status),
                Err(status) => refused = Some(status),
            }
        }
        match refused {
            Some(status) if deliveries.is_empty() => Err(status),
            _ => Ok((deliveries, unavailable.filter(|_| answered == 0))),
        }
    }
}

impl Drop for Poll {
    /// What is under way is given back when it comes.
    fn drop(&mut self) {
        let mut calls = std::mem::take(&mut self.calls);
        if calls.is_empty() {
            return;
        }
        let groups = Arc::clone(&self.groups);
        let sources: Vec<_> = self
            .sources
            .iter()
            .map(|source| (source.group, source.request.consumer_group.clone()))
            .collect();
        tokio::spawn(async move {
            while let Some(called) = calls.join_next().await {
                let Ok((place, _, Ok(deliveries))) = called else {
                    continue;
                };
                if let Some((group, consumer_group)) = sources.get(place) {
                    give_back(&groups, *group, consumer_group, deliveries).await;
                }
            }
        });
    }
}

async fn give_back(groups: &Groups, group: u32, consumer_group: &str, deliveries: Vec<Delivery>) {
    let nacks: Vec<Nack> = deliveries
        .iter()
        .filter_map(|delivery| receipt::unwrap(&delivery.receipt, u32::MAX).ok())
        .map(|(_, receipt)| Nack {
            receipt,
            delay_ms: Some(0),
        })
        .collect();
    let Ok(way) = groups.way(group) else { return };
    if nacks.is_empty() {
        return;
    }
    let request = NackRequest {
        consumer_group: consumer_group.to_owned(),
        nacks,
    };
    if let Err(status) = ConsumerClient::new(way.clone()).nack(request).await {
        tracing::debug!(%status, "messages that came too late wait for the end of their leases");
    }
}
