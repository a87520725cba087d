use std::{pin::pin, sync::Arc, time::Duration};

use tokio::time::Instant;
use tonic::{
    Code, Request, Status, client::Grpc, codegen::http::uri::PathAndQuery, transport::Channel,
};

use super::{
    outbound::{FrameCodec, Outbound},
    shared::Shared,
};
use crate::reconnect::Reconnect;

const PATH: &str = "/outrigger.v1.Producer/Publish";
/// How often the deadlines are looked at while nothing else happens.
const EXPIRE_INTERVAL_MS: u64 = 100;

/// Keeps a Publish stream open while there is something to send, and repeats what was not
/// answered when it breaks. Ends when the client is closed and everything is answered.
pub(super) async fn drive(shared: Arc<Shared>, channel: Channel) {
    // Whatever ends this task, nobody may wait for ever.
    let _abandon = AbandonOnDrop(Arc::clone(&shared));
    let mut reconnect = Reconnect::new();
    while wait_for_work(&shared).await {
        let ended = run_stream(&shared, &channel, &mut reconnect).await;
        shared.buffer().end_stream();
        match ended {
            Ok(()) => {}
            Err(status) => {
                tracing::debug!(%status, "the Publish stream broke");
                if is_final(status.code()) {
                    let finished = shared
                        .buffer()
                        .give_up_sent(Instant::now(), &describe(&status));
                    shared.finish(finished);
                }
                shared.expire(&describe(&status));
                wait_before_retry(&shared, &mut reconnect).await;
            }
        }
    }
}

struct AbandonOnDrop(Arc<Shared>);

impl Drop for AbandonOnDrop {
    fn drop(&mut self) {
        let finished = self.0.buffer().abandon();
        self.0.finish(finished);
        self.0.room.close();
    }
}

/// False when the client is closed and nothing is left to do.
async fn wait_for_work(shared: &Shared) -> bool {
    loop {
        let attention = shared.attention.notified();
        {
            let buffer = shared.buffer();
            if !buffer.is_empty() {
                return true;
            }
            if buffer.is_closed() {
                return false;
            }
        }
        attention.await;
    }
}

async fn wait_before_retry(shared: &Shared, reconnect: &mut Reconnect) {
    if !shared.buffer().is_empty() {
        reconnect.wait().await;
    }
}

/// Runs one stream. `Ok` when it ended without anything left unanswered on it.
async fn run_stream(
    shared: &Arc<Shared>,
    channel: &Channel,
    reconnect: &mut Reconnect,
) -> Result<(), Status> {
    let stream = shared.buffer().begin_stream();
    let mut expiry = pin!(tokio::time::sleep(Duration::from_millis(
        EXPIRE_INTERVAL_MS
    )));
    let mut opening = pin!(open(shared, channel, stream));
    let mut answers = loop {
        tokio::select! {
            answers = &mut opening => break answers?,
            () = &mut expiry => {
                check_deadlines(shared)?;
                expiry.as_mut().reset(Instant::now() + Duration::from_millis(EXPIRE_INTERVAL_MS));
            }
        }
    };
    loop {
        tokio::select! {
            biased;
            answer = answers.message() => {
                let Some(answer) = answer? else {
                    return ended(shared);
                };
                let (finished, wake) = shared.buffer().answered(answer.outcomes);
                if let Some(waker) = wake {
                    waker.wake();
                }
                shared.finish(finished);
                reconnect.succeeded();
                if is_done(shared) {
                    return Ok(());
                }
            }
            () = &mut expiry => {
                check_deadlines(shared)?;
                expiry.as_mut().reset(Instant::now() + Duration::from_millis(EXPIRE_INTERVAL_MS));
            }
            () = shared.attention.notified() => {
                if is_done(shared) {
                    return Ok(());
                }
            }
        }
    }
}

async fn open(
    shared: &Arc<Shared>,
    channel: &Channel,
    stream: u64,
) -> Result<tonic::Streaming<outrigger_proto::v1::PublishResponse>, Status> {
    let mut grpc = Grpc::new(channel.clone()).max_decoding_message_size(usize::MAX);
    grpc.ready()
        .await
        .map_err(|error| Status::unavailable(error.to_string()))?;
    let outbound = Outbound {
        shared: Arc::clone(shared),
        stream,
    };
    let answers = grpc
        .streaming(
            Request::new(outbound),
            PathAndQuery::from_static(PATH),
            FrameCodec,
        )
        .await?;
    Ok(answers.into_inner())
}

/// An error when the current stream has to be left because the sidecar does not answer.
fn check_deadlines(shared: &Shared) -> Result<(), Status> {
    let now = Instant::now();
    let is_due = shared.buffer().next_deadline().is_some_and(|at| now >= at);
    if is_due {
        return Err(Status::deadline_exceeded("the sidecar does not answer"));
    }
    Ok(())
}

/// Whether the client is closed and has every answer.
fn is_done(shared: &Shared) -> bool {
    let buffer = shared.buffer();
    buffer.is_closed() && buffer.is_empty()
}

fn ended(shared: &Shared) -> Result<(), Status> {
    if shared.buffer().has_unanswered() {
        return Err(Status::unavailable("the sidecar ended the stream"));
    }
    Ok(())
}

fn describe(status: &Status) -> String {
    format!("{:?}: {}", status.code(), status.message())
}

/// Whether repeating the same frames on a new stream is pointless.
fn is_final(code: Code) -> bool {
    match code {
        Code::InvalidArgument
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::PermissionDenied
        | Code::Unauthenticated
        | Code::FailedPrecondition => true,
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::NotFound
        | Code::AlreadyExists
        | Code::ResourceExhausted
        | Code::Aborted
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => false,
    }
}
