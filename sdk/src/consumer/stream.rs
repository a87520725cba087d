use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures::Stream;
use outrigger_proto::v1::{self, consumer_client::ConsumerClient};
use tonic::{Code, Status, transport::Channel};

use super::desk::Desk;
use crate::{Refusal, reconnect::Reconnect};

/// The request side of one Consume stream: the connection takes requests straight from the
/// desk whenever it can send.
struct Outbound {
    desk: Arc<Desk>,
    stream: u64,
}

impl Stream for Outbound {
    type Item = v1::ConsumeRequest;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.desk.poll_request(self.stream, context)
    }
}

/// Keeps a Consume stream open for as long as the future is polled. Returns only when the
/// sidecar refuses for good.
pub(super) async fn keep_open(desk: &Arc<Desk>, channel: Channel, group: &Arc<str>) -> Refusal {
    let mut reconnect = Reconnect::new();
    loop {
        if let Err(status) = run_stream(desk, channel.clone(), group, &mut reconnect).await {
            if is_final(status.code()) {
                return status.into();
            }
            if status.code() == Code::FailedPrecondition {
                // Another member of the group wants something else of the topic, as during a
                // rolling update of its filter. It ends when the last of those has left.
                tracing::warn!(group = %group, problem = status.message(), "not admitted, trying again");
            } else {
                tracing::debug!(%status, "the Consume stream broke");
            }
        }
        reconnect.wait().await;
    }
}

async fn run_stream(
    desk: &Arc<Desk>,
    channel: Channel,
    group: &Arc<str>,
    reconnect: &mut Reconnect,
) -> Result<(), Status> {
    let outbound = Outbound {
        stream: desk.begin_stream(),
        desk: Arc::clone(desk),
    };
    let mut client = ConsumerClient::new(channel).max_decoding_message_size(usize::MAX);
    let mut responses = client.consume(outbound).await?.into_inner();
    while let Some(response) = responses.message().await? {
        reconnect.succeeded();
        for result in response.results {
            desk.answered(result);
        }
        if !response.deliveries.is_empty() {
            desk.deliver(response.deliveries, group);
        }
    }
    Ok(())
}

fn is_final(code: Code) -> bool {
    match code {
        Code::InvalidArgument
        | Code::NotFound
        | Code::PermissionDenied
        | Code::Unauthenticated
        | Code::Unimplemented => true,
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::AlreadyExists
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => false,
    }
}
