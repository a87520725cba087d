use std::sync::Arc;

use outrigger_proto::stored::{
    AckRequest, ConsumeRequest, ExtendRequest, NackRequest, ReceiptError,
    consumer_client::ConsumerClient,
};
use tokio::sync::{Semaphore, mpsc};
use tonic::{Status, Streaming};

use super::{
    desk::Desk,
    part::{self, Part, Settled},
};
use crate::{
    delivery::too_many_credits,
    edge::check_consume_request,
    route::{router::Groups, wire, wire::Head},
};

/// What the client says.
pub(super) struct Inbound {
    pub(super) groups: Arc<Groups>,
    pub(super) consumer_group: String,
    pub(super) head: Head,
    pub(super) desk: Arc<Desk>,
    /// To the links, by data group.
    pub(super) parts: Vec<(u32, mpsc::UnboundedSender<Part>)>,
    pub(super) results: mpsc::UnboundedSender<Settled>,
    /// Bounds the requests whose results are not told.
    pub(super) room: Arc<Semaphore>,
}

impl Inbound {
    /// Ends when the client does; the answer is what is wrong, if anything is.
    pub(super) async fn run(
        self,
        first: ConsumeRequest,
        mut requests: Streaming<ConsumeRequest>,
    ) -> Result<(), Status> {
        let mut next = Some(first);
        while let Some(request) = next {
            self.take(request).await?;
            next = requests.message().await?;
            if let Some(request) = &next {
                check_consume_request(request)?;
            }
        }
        Ok(())
    }

    async fn take(&self, request: ConsumeRequest) -> Result<(), Status> {
        let credits = request.credits;
        if credits > 0 && self.desk.add(credits).is_err() {
            return Err(too_many_credits(credits).into());
        }
        let is_empty =
            request.acks.is_empty() && request.nacks.is_empty() && request.extends.is_empty();
        if is_empty {
            return Ok(());
        }
        let Ok(room) = Arc::clone(&self.room).acquire_owned().await else {
            return Ok(());
        };
        let groups = self.groups.placement.groups();
        for part in part::split(request, groups, self.results.clone(), room) {
            let mut links = self.parts.iter();
            match links.find(|(group, _)| *group == part.group()) {
                // A link that has ended ends the stream.
                Some((_, link)) => drop(link.send(part)),
                None => self.settle(part)?,
            }
        }
        Ok(())
    }

    /// Settles leases of a data group that nothing is received from on this stream, as after
    /// another subscription.
    fn settle(&self, part: Part) -> Result<(), Status> {
        let way = self.groups.way(part.group())?.clone();
        let mut client = ConsumerClient::new(way);
        let head = self.head.clone();
        let consumer_group = self.consumer_group.clone();
        tokio::spawn(async move {
            let asked = async {
                let mut errors: Vec<ReceiptError> = Vec::new();
                if !part.acks.is_empty() {
                    let request = AckRequest {
                        consumer_group: consumer_group.clone(),
                        receipts: part.acks.clone(),
                    };
                    let answer = client.ack(wire::call(&head, request)).await?;
                    errors.extend(answer.into_inner().errors);
                }
                if !part.nacks.is_empty() {
                    let request = NackRequest {
                        consumer_group: consumer_group.clone(),
                        nacks: part.nacks.clone(),
                    };
                    let answer = client.nack(wire::call(&head, request)).await?;
                    errors.extend(answer.into_inner().errors);
                }
                if !part.extends.is_empty() {
                    let request = ExtendRequest {
                        consumer_group,
                        extends: part.extends.clone(),
                    };
                    let answer = client.extend(wire::call(&head, request)).await?;
                    errors.extend(answer.into_inner().errors);
                }
                Ok(errors)
            };
            match asked.await {
                Ok(errors) => part.answered(errors),
                Err(status) => part.failed(&status),
            }
        });
        Ok(())
    }
}
