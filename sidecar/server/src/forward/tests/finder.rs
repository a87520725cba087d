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
    beliefs: Vec<watch::Sender<[Belief; GROUPS]>>,
    runtimes: Vec<Option<Runtime>>,
}

/// Who leads, in which term.
type Belief = (u64, u64);
/// Data groups that nodes have beliefs of.
const GROUPS: usize = 3;

struct Node {
    belief: watch::Receiver<[Belief; GROUPS]>,
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
            let (belief, believed) = watch::channel([(0, 0); GROUPS]);
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
        self.believe_of(node, 0, belief);
    }

    fn believe_of(&self, node: u64, group: usize, belief: Belief) {
        self.beliefs[node as usize - 1].send_modify(|beliefs| beliefs[group] = belief);
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
    async fn find_through(&self, node: u64) -> Vec<watch::Receiver<Target>> {
        let given = vec![self.edges[node as usize - 1].clone()];
        let (finder, mut leaders) = Finder::new(given, FinderOptions::default());
        tokio::spawn(finder.run(Arc::new(Notify::new())));
        let known = timeout(Duration::from_secs(30), leaders.known()).await;
        known.expect("in time").expect("it looks")
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
    let mut targets = nodes.find_through(3).await.remove(0);
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
    let mut targets = nodes.find_through(1).await.remove(0);
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

#[tokio::test]
async fn every_data_group_has_a_leader_of_its_own() {
    let mut nodes = Nodes::start();
    let mut targets = nodes.find_through(2).await;
    assert_eq!(targets.len(), GROUPS);
    for node in 1..=3 {
        for group in 0..GROUPS {
            nodes.believe_of(node, group, (group as u64 + 1, 1));
        }
    }
    for (target, node) in targets.iter_mut().zip(1..) {
        becomes(target, nodes.at(node)).await;
    }
    // The others go on while one has nobody, and while it has another leader.
    nodes.kill(3);
    becomes(&mut targets[2], Target::Nobody).await;
    nodes.believe_of(1, 2, (1, 2));
    nodes.believe_of(2, 2, (1, 2));
    becomes(&mut targets[2], nodes.at(1)).await;
    assert_eq!(*targets[0].borrow(), nodes.at(1));
    assert_eq!(*targets[1].borrow(), nodes.at(2));
    // One that was left is not believed again of this group, however it is of another one.
    for node in 1..=2 {
        nodes.believe_of(node, 1, (1, 5));
    }
    becomes(&mut targets[1], nodes.at(1)).await;
    nodes.believe_of(1, 1, (0, 5));
    nodes.believe_of(2, 1, (2, 4));
    becomes(&mut targets[1], Target::Nobody).await;
}

#[tonic::async_trait]
impl Cluster for Node {
    async fn status(
        &self,
        _request: Request<StatusRequest>,
    ) -> Result<Response<StatusResponse>, Status> {
        let beliefs = *self.belief.borrow();
        let (leader, term) = beliefs[0];
        let group = |(data_group, (leader, term)): (u32, Belief)| cluster::DataGroupStatus {
            data_group,
            leader,
            term,
            replicas: Vec::new(),
        };
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
            data_groups: (0..).zip(beliefs).map(group).collect(),
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
