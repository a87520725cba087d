use std::{pin::Pin, sync::Arc};

use futures::{Stream, StreamExt as _};
use outrigger_log::cluster::PurposeKind;
use outrigger_proto::cluster::{
    AdoptRequest, AdoptResponse, Frame, HandshakeRequest, HandshakeResponse, ReadmitRequest,
    ReadmitResponse, ReadmitStep, peers_server::Peers,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status, Streaming};

use super::{
    Complaints, Everywhere, Me, Presence, Refused, find,
    handshake::check_caller,
    me::read_instance,
    presence::AdoptError,
    protocol::Heading,
    transport::{FRAMES_WAITING_MAX, pass_on},
};
use crate::edge::status::Failure;

/// What other nodes may ask of this one.
#[derive(Clone, Debug)]
pub(crate) struct PeersService {
    presence: Arc<Presence>,
    /// Of callers; what this node finds when it calls is another matter.
    complaints: Arc<Complaints>,
    everywhere: Everywhere,
}

impl PeersService {
    pub(crate) fn new(presence: Arc<Presence>, everywhere: Everywhere) -> Self {
        Self {
            presence,
            complaints: Arc::default(),
            everywhere,
        }
    }

    /// Logs why a node was refused, once.
    fn refuse(&self, from: u64, refused: Refused) -> Status {
        let from = format_args!("{from}, calling").to_string();
        self.complaints.about(from, &refused);
        refused.into()
    }

    fn check(&self, heading: &Heading) -> Result<(), Refused> {
        let me = self.presence.me();
        let from = heading.from;
        let standing = self.presence.standing();
        let ours = standing.cluster_id.unwrap_or_default();
        if ours.is_empty() || standing.repairing {
            let state = match standing.repairing {
                true => "being repaired",
                false => "not in any cluster yet",
            };
            return Err(Refused::NotTakingPart { node: me.id, state });
        }
        if heading.cluster_id != ours {
            let theirs = heading.cluster_id.clone();
            return Err(Refused::OtherCluster {
                node: from,
                theirs,
                ours,
            });
        }
        if heading.to != me.id {
            return Err(Refused::WrongNode {
                address: me.address.clone(),
                found: me.id,
                expected: heading.to,
            });
        }
        if heading.to_instance != me.instance {
            return Err(Refused::OtherInstance {
                node: me.id,
                edge: me.edge.clone(),
            });
        }
        if from == me.id {
            return Err(Refused::DoubledId {
                node: from,
                here: me.address.clone(),
                there: "the caller".to_owned(),
            });
        }
        // A node that this one has not heard of may well lead, because this one is behind; but
        // another one under a known number gets no vote. Whoever leads has been voted for.
        let known = self.presence.members_of(heading.purpose.group);
        let known = find(&known, from);
        let is_call = heading.purpose.kind == PurposeKind::Call;
        if is_call && known.is_some_and(|known| known.instance != heading.from_instance) {
            return Err(Refused::OtherInstance {
                node: from,
                edge: me.edge.clone(),
            });
        }
        Ok(())
    }
}

#[tonic::async_trait]
impl Peers for PeersService {
    async fn handshake(
        &self,
        request: Request<HandshakeRequest>,
    ) -> Result<Response<HandshakeResponse>, Status> {
        let request = request.into_inner();
        let from = request.from.as_ref().map_or(0, |from| from.id);
        match check_caller(&self.presence, request) {
            Ok(_) => Ok(Response::new(self.presence.answer())),
            Err(refused) => Err(self.refuse(from, refused)),
        }
    }

    async fn adopt(
        &self,
        request: Request<AdoptRequest>,
    ) -> Result<Response<AdoptResponse>, Status> {
        let request = request.into_inner();
        let me = self.presence.me();
        if request.node_id != me.id {
            return Err(Refused::WrongNode {
                address: me.address.clone(),
                found: me.id,
                expected: request.node_id,
            }
            .into());
        }
        if read_instance(&request.instance)? != me.instance {
            return Err(Refused::OtherInstance {
                node: me.id,
                edge: me.edge.clone(),
            }
            .into());
        }
        if request.cluster_id.is_empty() {
            return Err(Refused::Malformed {
                field: "cluster_id",
            }
            .into());
        }
        // A program from before there were several says nothing.
        let groups = request.data_groups.max(1);
        match self.presence.adopt(&request.cluster_id, groups).await {
            Ok(()) => Ok(Response::new(AdoptResponse {})),
            Err(AdoptError::Refused(refused)) => Err(refused.into()),
            Err(error) => {
                tracing::error!(%error, "the adoption by a cluster could not be recorded");
                let failure = Failure::new(Code::Internal, "NOT_RECORDED", error.to_string());
                Err(failure.into())
            }
        }
    }

    async fn readmit(
        &self,
        request: Request<ReadmitRequest>,
    ) -> Result<Response<ReadmitResponse>, Status> {
        let mut request = request.into_inner();
        let node = Me::read(request.node.take())?;
        let ours = self.presence.cluster_id().unwrap_or_default();
        if request.cluster_id != ours || ours.is_empty() {
            let refused = Refused::OtherCluster {
                node: node.id,
                theirs: request.cluster_id,
                ours,
            };
            return Err(self.refuse(node.id, refused));
        }
        let group = request.data_group;
        match request.step() {
            ReadmitStep::Unspecified => self.everywhere.readmit(node).await?,
            ReadmitStep::Out => {
                let changed = self.everywhere.changes().take_out(group, &node).await;
                changed.map_err(Failure::from)?;
            }
            ReadmitStep::In => {
                let changed = self.everywhere.changes().take_in(group, &node).await;
                changed.map_err(Failure::from)?;
            }
        }
        Ok(Response::new(ReadmitResponse {}))
    }

    type ExchangeStream = Pin<Box<dyn Stream<Item = Result<Frame, Status>> + Send>>;

    async fn exchange(
        &self,
        request: Request<Streaming<Frame>>,
    ) -> Result<Response<Self::ExchangeStream>, Status> {
        let heading = Heading::read(request.metadata())?;
        self.check(&heading)
            .map_err(|refused| self.refuse(heading.from, refused))?;
        let Some(logs) = self.presence.logs() else {
            return Err(Refused::NotTakingPart {
                node: self.presence.me().id,
                state: "still starting",
            }
            .into());
        };
        self.complaints
            .settled(format_args!("{}, calling", heading.from));
        let (arrived, frames) = mpsc::channel(FRAMES_WAITING_MAX);
        tokio::spawn(pass_on(request.into_inner(), arrived));
        let answers = logs.serve_peer(heading.from, heading.purpose, frames);
        let answers = ReceiverStream::new(answers).map(|content| Ok(Frame { content }));
        Ok(Response::new(Box::pin(answers)))
    }
}
