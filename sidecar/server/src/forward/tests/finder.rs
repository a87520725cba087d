use std::{net::TcpListener, sync::Arc, time::Duration};

use outrigger_proto::cluster::{
    self, AddRequest, DigestRequest, DigestResponse, ReadQueueRequest, ReadQueueResponse,
    RemoveRequest, ReplaceRequest, StatusRequest, StatusResponse, TransferRequest, WaitingRequest,
    WaitingResponse,
    cluster_server::{Cluster, ClusterServer},
};
use tokio::{
    runtime::Runtime,
    sync::{Notify, watch},
    time::timeout,
};
use tonic::{
    Request, Response, Status,
    transport::{Server, server::TcpIncoming},
};

use super::Target;
use crate::forward::{Finder, FinderOptions};

/// Three nodes, each of which says what it believes.
struct Nodes {
    edges: Vec<String>,
    beliefs: Vec<watch::Sender<Belief>>,
    runtimes: Vec<Option<Runtime>>,
}

/// Who leads, in which term.
type Belief = (u64, u64);

struct Node {
    belief: watch::Receiver<Belief>,
    edges: Vec<String>,
}

impl Nodes {
    fn start() -> Self {
        let listeners: Vec<TcpListener> = (0..3)
            .map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port"))
            .collect();
        let edge = |listener: &TcpListener| listener.local_addr().expect("bound").to_string();
        let edges: Vec<String> = listeners.iter().map(edge).collect();
        let (mut beliefs, mut runtimes) = (Vec::new(), Vec::new());
        for listener in listeners {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .expect("a runtime");
            let (belief, believed) = watch::channel((0, 0));
            let node = Node {
                belief: believed,
                edges: edges.clone(),
            };
            listener.set_nonblocking(true).expect("a socket");
            runtime.spawn(async move {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a socket");
                Server::builder()
                    .add_service(ClusterServer::new(node))
                    .serve_with_incoming(TcpIncoming::from(listener))
                    .await
                    .expect("it serves until it is dropped");
            });
            beliefs.push(belief);
            runtimes.push(Some(runtime));
        }
        Self {
            edges,
            beliefs,
            runtimes,
        }
    }

    fn believe(&self, node: u64, belief: Belief) {
        self.beliefs[node as usize - 1].send_replace(belief);
    }

    fn all_believe(&self, belief: Belief) {
        for node in 1..=3 {
            self.believe(node, belief);
        }
    }

    fn at(&self, node: u64) -> Target {
        Target::At(self.edges[node as usize - 1].clone())
    }

    fn kill(&mut self, node: u64) {
        if let Some(runtime) = self.runtimes[node as usize - 1].take() {
            runtime.shutdown_background();
        }
    }

    /// A finder that knows one node.
    fn find_through(&self, node: u64) -> watch::Receiver<Target> {
        let (target, targets) = watch::channel(Target::Nobody);
        let given = vec![self.edges[node as usize - 1].clone()];
        let finder = Finder::new(given, target, FinderOptions::default());
        tokio::spawn(finder.run(Arc::new(Notify::new())));
        targets
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        (1..=3).for_each(|node| self.kill(node));
    }
}

async fn becomes(targets: &mut watch::Receiver<Target>, wanted: Target) {
    let limit = Duration::from_secs(30);
    let found = timeout(limit, targets.wait_for(|target| *target == wanted)).await;
    assert!(found.is_ok(), "not found: {wanted:?}");
}

#[tokio::test]
async fn any_node_tells_who_leads_and_the_next_one_is_found_when_it_dies() {
    let mut nodes = Nodes::start();
    let mut targets = nodes.find_through(3);
    assert_eq!(*targets.borrow(), Target::Nobody);
    nodes.all_believe((1, 1));
    becomes(&mut targets, nodes.at(1)).await;
    nodes.kill(1);
    // The others go on naming the dead one for a while.
    becomes(&mut targets, Target::Nobody).await;
    nodes.all_believe((2, 2));
    becomes(&mut targets, nodes.at(2)).await;
    // Not even the given node is needed any more.
    nodes.kill(3);
    nodes.all_believe((0, 2));
    becomes(&mut targets, Target::Nobody).await;
    nodes.all_believe((2, 3));
    becomes(&mut targets, nodes.at(2)).await;
}

#[tokio::test]
async fn a_leader_that_does_not_know_of_its_successor_is_left_for_good() {
    let nodes = Nodes::start();
    let mut targets = nodes.find_through(1);
    nodes.believe(1, (1, 1));
    becomes(&mut targets, nodes.at(1)).await;
    nodes.all_believe((2, 2));
    becomes(&mut targets, nodes.at(2)).await;
    // Only the node that was left is there to ask, and it is behind.
    nodes.believe(1, (1, 1));
    nodes.believe(2, (0, 2));
    nodes.believe(3, (0, 2));
    becomes(&mut targets, Target::Nobody).await;
    let back = targets.wait_for(|target| *target == nodes.at(1));
    let back = timeout(Duration::from_millis(300), back).await;
    assert!(back.is_err(), "it was believed again");
}

#[tonic::async_trait]
impl Cluster for Node {
    async fn status(
        &self,
        _request: Request<StatusRequest>,
    ) -> Result<Response<StatusResponse>, Status> {
        let (leader, term) = *self.belief.borrow();
        let member = |(id, edge): (u64, &String)| cluster::Member {
            node: Some(cluster::Node {
                id,
                edge: edge.clone(),
                ..Default::default()
            }),
            ..Default::default()
        };
        Ok(Response::new(StatusResponse {
            cluster_id: "one".to_owned(),
            leader,
            term,
            members: (1..).zip(&self.edges).map(member).collect(),
        }))
    }

    async fn add(&self, _: Request<AddRequest>) -> Result<Response<StatusResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn remove(&self, _: Request<RemoveRequest>) -> Result<Response<StatusResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn replace(
        &self,
        _: Request<ReplaceRequest>,
    ) -> Result<Response<StatusResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn transfer(
        &self,
        _: Request<TransferRequest>,
    ) -> Result<Response<StatusResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn waiting(
        &self,
        _: Request<WaitingRequest>,
    ) -> Result<Response<WaitingResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn digest(&self, _: Request<DigestRequest>) -> Result<Response<DigestResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn read_queue(
        &self,
        _: Request<ReadQueueRequest>,
    ) -> Result<Response<ReadQueueResponse>, Status> {
        Err(Status::unimplemented(""))
    }
}
