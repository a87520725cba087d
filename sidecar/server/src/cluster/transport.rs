use std::{io, time::Duration};

use bytes::Bytes;
use futures::{FutureExt as _, StreamExt as _};
use outrigger_log::cluster::{Exchange, Member, OpenExchange, Purpose, Transport};
use outrigger_proto::cluster::Frame;
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status, Streaming};

use super::{Links, links::LinkError, protocol::Heading};

/// Frames that wait on either side of a stream. The log bounds what it has on its way.
pub(crate) const FRAMES_WAITING_MAX: usize = 64;
/// How long the other node may take to accept a stream.
const OPEN_MS_MAX: u64 = 2_000;
/// The pause after a refusal, so that two nodes that do not fit ask each other seldom.
const REFUSED_PAUSE_MS: u64 = 500;

/// Streams of frames to other nodes, over gRPC.
#[derive(Debug)]
pub(crate) struct PeerTransport {
    links: Links,
}

impl PeerTransport {
    pub(crate) fn new(links: Links) -> Self {
        Self { links }
    }
}

impl Transport for PeerTransport {
    fn open(&self, target: u64, member: &Member, purpose: Purpose) -> OpenExchange {
        let (links, member) = (self.links.clone(), member.clone());
        async move {
            let opened = open(&links, target, &member, purpose).await;
            if let Err(error) = &opened
                && error.reason().is_some()
            {
                sleep(Duration::from_millis(REFUSED_PAUSE_MS)).await;
            }
            opened.map_err(io::Error::other)
        }
        .boxed()
    }
}

/// A handshake first: whoever answers must be the very node that is meant.
async fn open(
    links: &Links,
    target: u64,
    member: &Member,
    purpose: Purpose,
) -> Result<Exchange, LinkError> {
    links
        .greet(&member.address, target, Some(member.instance))
        .await?;
    let presence = links.presence();
    let heading = Heading {
        cluster_id: presence.cluster_id().unwrap_or_default(),
        from: presence.me().id,
        from_instance: presence.me().instance,
        to: target,
        to_instance: member.instance,
        purpose,
    };
    let (frames, sending) = mpsc::channel::<Bytes>(FRAMES_WAITING_MAX);
    let sending = ReceiverStream::new(sending).map(|content| Frame { content });
    let mut request = Request::new(sending);
    heading.write(request.metadata_mut());
    let mut peer = links.peer(&member.address)?;
    let unreachable = |problem: String| LinkError::Unreachable {
        address: member.address.clone(),
        problem,
    };
    let accepted = timeout(Duration::from_millis(OPEN_MS_MAX), peer.exchange(request)).await;
    let accepted = accepted.map_err(|_| unreachable(format!("nothing for {OPEN_MS_MAX} ms")))?;
    let received = match accepted {
        Ok(response) => response.into_inner(),
        Err(status) => {
            let error = LinkError::of(&member.address, &status);
            // A node that is just starting is no reason to complain.
            if error.reason() != Some("NODE_NOT_TAKING_PART") {
                links.complaints().about(target, &error);
            }
            return Err(error);
        }
    };
    let (arrived, answers) = mpsc::channel(FRAMES_WAITING_MAX);
    tokio::spawn(pass_on(received, arrived));
    Ok(Exchange { frames, answers })
}

/// Passes frames on until either side ends.
pub(crate) async fn pass_on(mut from: Streaming<Frame>, to: mpsc::Sender<Bytes>) {
    loop {
        let frame: Result<Option<Frame>, Status> = tokio::select! {
            frame = from.message() => frame,
            () = to.closed() => return,
        };
        match frame {
            Ok(Some(frame)) => {
                if to.send(frame.content).await.is_err() {
                    return;
                }
            }
            Ok(None) => return,
            Err(status) => {
                tracing::debug!(%status, "a stream between nodes broke");
                return;
            }
        }
    }
}
