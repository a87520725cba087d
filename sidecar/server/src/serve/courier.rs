use std::time::Duration;

use futures::{FutureExt as _, future::BoxFuture};
use outrigger_log::{
    ForwardedMessage,
    forwarding::{Courier, CourierError},
};
use outrigger_proto::cluster::{self, ForwardRequest, groups_client::GroupsClient};
use tokio::time::timeout;
use tonic::{Code, Status};

use crate::forward::{Forward, Ways};

/// How long the leader of another data group may take before it is asked again.
const DELIVER_MS_MAX: u64 = 10_000;

/// Takes messages to the leaders of other data groups, by calls.
pub(super) struct CallingCourier {
    ways: Ways,
    request_bytes_max: usize,
}

impl CallingCourier {
    pub(super) fn new(ways: Ways, request_bytes_max: usize) -> Self {
        Self {
            ways,
            request_bytes_max,
        }
    }
}

impl Courier for CallingCourier {
    fn deliver(
        &self,
        source: u32,
        target: u32,
        first: u64,
        messages: Vec<ForwardedMessage>,
    ) -> BoxFuture<'static, Result<u64, CourierError>> {
        let Some(way) = self.ways.way(target).cloned() else {
            let groups = self.ways.groups();
            let reason = format!("there are {groups} data groups");
            return std::future::ready(Err(CourierError::Refused { target, reason })).boxed();
        };
        let request_bytes_max = self.request_bytes_max;
        let messages = messages.into_iter();
        let request = ForwardRequest {
            source,
            target,
            first,
            messages: messages
                .map(|message| cluster::ForwardedMessage {
                    topic: message.topic.as_ref().to_owned(),
                    key_hash: message.key_hash,
                    tag_hash: message.tag_hash,
                    deliver_at_ms: message.deliver_at_ms,
                    stored: message.stored,
                })
                .collect(),
        };
        async move {
            let asked = ask(way, request, request_bytes_max);
            let limit = Duration::from_millis(DELIVER_MS_MAX);
            match timeout(limit, asked).await {
                Ok(Ok(upto)) => Ok(upto),
                Ok(Err(status)) => Err(failed(target, &status)),
                Err(_) => Err(CourierError::Unreachable {
                    target,
                    reason: format!("nothing for {DELIVER_MS_MAX} ms"),
                }),
            }
        }
        .boxed()
    }
}

async fn ask(way: Forward, request: ForwardRequest, bytes_max: usize) -> Result<u64, Status> {
    let mut leader = GroupsClient::new(way).max_encoding_message_size(bytes_max);
    Ok(leader.forward(request).await?.into_inner().upto)
}

fn failed(target: u32, status: &Status) -> CourierError {
    let reason = status.message().to_owned();
    match status.code() {
        Code::Unavailable => CourierError::Unreachable { target, reason },
        _ => CourierError::Refused { target, reason },
    }
}
