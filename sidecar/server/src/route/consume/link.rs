use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use outrigger_proto::stored::{
    ConsumeRequest, ConsumeResponse, Delivery, Subscribe, consumer_client::ConsumerClient,
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use super::{desk::Desk, part::Part};
use crate::{
    forward::failure,
    route::{Options, pause::Pause, receipt, way::Way, wire, wire::Head},
};

/// Requests on their way to the data group.
const REQUESTS_WAITING_MAX: usize = 4;

/// Deliveries on their way to the client, and the place of the link that they came over.
pub(super) type Deliver = mpsc::Sender<(usize, Vec<Delivery>)>;

/// The Consume stream to one data group, which is opened again when it is lost.
pub(super) struct Link {
    place: usize,
    group: u32,
    way: Way,
    head: Head,
    subscribe: Subscribe,
    options: Options,
    desk: Arc<Desk>,
    deliver: Deliver,
    /// What has no result, by the number of its request.
    kept: BTreeMap<u64, Part>,
    /// What of it is to be sent on the present stream.
    unsent: VecDeque<u64>,
    next_id: u64,
    /// The client says nothing more.
    is_over: bool,
    /// It could not be opened the last time.
    is_down: bool,
    /// When the last stream was lost.
    lost_at: Option<Instant>,
}

/// How a stream ended.
enum End {
    /// Everything is said and answered.
    Done,
    /// Nobody is there who could go on; another one may be in a moment.
    Lost(Status),
    /// The data group refuses.
    Refused(Status),
}

impl From<Status> for End {
    fn from(status: Status) -> Self {
        match status.code() {
            Code::Unavailable => Self::Lost(status),
            _ => Self::Refused(status),
        }
    }
}

type Parts = mpsc::UnboundedReceiver<Part>;

impl Link {
    #[expect(clippy::too_many_arguments, reason = "it is made in one place")]
    pub(super) fn new(
        place: usize,
        group: u32,
        way: Way,
        head: Head,
        subscribe: Subscribe,
        options: Options,
        desk: Arc<Desk>,
        deliver: Deliver,
    ) -> Self {
        Self {
            place,
            group,
            way,
            head,
            subscribe,
            options,
            desk,
            deliver,
            kept: BTreeMap::new(),
            unsent: VecDeque::new(),
            next_id: 1,
            is_over: false,
            is_down: false,
            lost_at: Some(Instant::now()),
        }
    }

    /// Until everything is said and answered, or until the data group refuses.
    pub(super) async fn run(mut self, mut parts: Parts) -> Result<(), Status> {
        let mut pause = Pause::new(&self.options);
        loop {
            let status = match self.stream(&mut parts, &mut pause).await {
                End::Done => return Ok(()),
                End::Refused(status) => return Err(status),
                End::Lost(status) => status,
            };
            tracing::debug!(data_group = self.group, %status, "a link of a Consume stream was lost");
            if self.is_over && self.kept.is_empty() {
                return Ok(());
            }
            let again_at = pause.next();
            self.wait(&mut parts, again_at, &status).await;
        }
    }

    /// Opens a stream and goes on with it.
    async fn stream(&mut self, parts: &mut Parts, pause: &mut Pause) -> End {
        let (requests, body) = mpsc::channel(REQUESTS_WAITING_MAX);
        let subscribe = ConsumeRequest {
            // It is told what it may send when the receipts that wait are on their way: what
            // they name is not to be delivered again.
            subscribe: Some(self.subscribe.clone()),
            ..ConsumeRequest::default()
        };
        // There is room for the first one.
        let _ = requests.try_send(subscribe);
        self.unsent = self.kept.keys().copied().collect();
        let mut client = ConsumerClient::new(self.way.clone())
            .max_decoding_message_size(self.options.response_bytes_max);
        let opening = wire::call(&self.head, ReceiverStream::new(body));
        let opening = async move { client.consume(opening).await };
        match self.opened(parts, opening).await {
            Ok(responses) => {
                if std::mem::replace(&mut self.is_down, false) {
                    self.desk.standing.up();
                }
                pause.succeeded();
                self.lost_at = None;
                self.desk.begin(self.place);
                let end = self.go_on(parts, requests, responses).await;
                self.lost_at = Some(Instant::now());
                end
            }
            Err(status) if status.code() == Code::Unavailable => {
                let was_down = std::mem::replace(&mut self.is_down, true);
                match was_down || self.desk.standing.down() {
                    true => End::Lost(status),
                    // Nobody is left to receive from.
                    false => End::Refused(status),
                }
            }
            Err(status) => End::Refused(status),
        }
    }

    /// Waits for a stream to be opened. What the client says meanwhile waits as well, but not
    /// for ever.
    async fn opened(
        &mut self,
        parts: &mut Parts,
        opening: impl Future<Output = Result<tonic::Response<Streaming<ConsumeResponse>>, Status>>,
    ) -> Result<Streaming<ConsumeResponse>, Status> {
        let mut opening = std::pin::pin!(opening);
        let why = Status::from(failure::leader_changed());
        loop {
            tokio::select! {
                opened = &mut opening => return Ok(opened?.into_inner()),
                () = self.keep_waiting(parts, &why) => {}
            }
        }
    }

    /// Waits for the next attempt.
    async fn wait(&mut self, parts: &mut Parts, until: Instant, why: &Status) {
        loop {
            tokio::select! {
                () = sleep_until(until) => return,
                () = self.keep_waiting(parts, why) => {}
            }
        }
    }

    /// Takes the next part while there is no stream, and answers what has waited too long.
    async fn keep_waiting(&mut self, parts: &mut Parts, why: &Status) {
        let since = *self.lost_at.get_or_insert_with(Instant::now);
        let patience = Duration::from_millis(self.options.receipt_wait_ms);
        let deadline = since + patience;
        let has_kept = !self.kept.is_empty();
        tokio::select! {
            () = sleep_until(deadline), if has_kept => self.give_up(why),
            part = parts.recv(), if !self.is_over => match part {
                None => self.is_over = true,
                Some(part) => {
                    self.keep(part);
                    if Instant::now() >= deadline {
                        self.give_up(why);
                    }
                }
            },
            else => std::future::pending().await,
        }
    }

    fn keep(&mut self, part: Part) {
        self.kept.insert(self.next_id, part);
        self.unsent.push_back(self.next_id);
        self.next_id += 1;
    }

    fn give_up(&mut self, why: &Status) {
        self.unsent.clear();
        for part in std::mem::take(&mut self.kept).into_values() {
            part.failed(why);
        }
    }

    /// Uses a stream for as long as it lasts.
    async fn go_on(
        &mut self,
        parts: &mut Parts,
        requests: mpsc::Sender<ConsumeRequest>,
        mut responses: Streaming<ConsumeResponse>,
    ) -> End {
        let mut requests = Some(requests);
        let mut is_heard = true;
        let mut credits = 0;
        let mut arrived: Option<Vec<Delivery>> = None;
        let desk = Arc::clone(&self.desk);
        let deliver = self.deliver.clone();
        loop {
            if !is_heard || (self.is_over && self.unsent.is_empty()) {
                // The data group answers what it has, and ends the stream.
                requests = None;
            }
            let has_request = !self.unsent.is_empty() || credits > 0;
            tokio::select! {
                room = reserve(requests.as_ref()), if has_request => match room {
                    Some(room) => room.send(self.request(&mut credits)),
                    // Why, the responses tell.
                    None => is_heard = false,
                },
                room = deliver.reserve(), if arrived.is_some() => match (room, arrived.take()) {
                    (Ok(room), Some(deliveries)) => room.send((self.place, deliveries)),
                    // The client is gone.
                    (Err(_), _) | (_, None) => return End::Done,
                },
                response = responses.message(), if arrived.is_none() => match response {
                    Ok(Some(response)) => arrived = self.take(response),
                    Ok(None) if self.is_over && self.kept.is_empty() => return End::Done,
                    Ok(None) => return End::Lost(failure::leader_changed().into()),
                    Err(status) => return status.into(),
                },
                part = parts.recv(), if !self.is_over => match part {
                    Some(part) => self.keep(part),
                    None => self.is_over = true,
                },
                () = desk.told(self.place) => credits += desk.tell(self.place),
            }
        }
    }

    /// What is said next: the oldest receipts first, and what may be sent with the last ones.
    fn request(&mut self, credits: &mut u32) -> ConsumeRequest {
        let id = self.unsent.pop_front();
        let part = id.and_then(|id| Some((id, self.kept.get(&id)?)));
        let request = part.map(|(id, part)| part.request(id));
        let mut request = request.unwrap_or_default();
        if self.unsent.is_empty() {
            request.credits = std::mem::take(credits);
        }
        request
    }

    /// Takes what arrived; what of it is for the client.
    fn take(&mut self, response: ConsumeResponse) -> Option<Vec<Delivery>> {
        for result in response.results {
            if let Some(part) = self.kept.remove(&result.request_id) {
                part.answered(result.errors);
            }
        }
        let mut deliveries = response.deliveries;
        if deliveries.is_empty() {
            return None;
        }
        self.desk.received(self.place, deliveries.len());
        for delivery in &mut deliveries {
            delivery.receipt = receipt::wrap(self.group, &delivery.receipt);
        }
        Some(deliveries)
    }
}

/// Room for a request; `None` when nobody takes any.
async fn reserve(
    requests: Option<&mpsc::Sender<ConsumeRequest>>,
) -> Option<mpsc::Permit<'_, ConsumeRequest>> {
    match requests {
        Some(requests) => requests.reserve().await.ok(),
        None => std::future::pending().await,
    }
}
