use std::time::Duration;

use outrigger_proto::v1::{self, producer_client::ProducerClient};
use tokio::{sync::watch, time::timeout};

use super::{
    Proxy, Target, impatient,
    node::{Behaviour, Node, Stored},
    reason,
};

fn request() -> v1::PrepareRequest {
    v1::PrepareRequest {
        transaction_id: "one".to_owned(),
        ..Default::default()
    }
}

#[tokio::test]
async fn a_node_that_follows_passes_calls_to_the_leader() {
    let stored = Stored::default();
    let leader = Node::start(&stored, Behaviour::Lead);
    let (_known, known) = watch::channel(leader.target());
    let follower = Node::start_following(&stored, known);
    let proxy = Proxy::to(follower.target());
    let mut client = ProducerClient::new(proxy.forward.clone());
    client.prepare(request()).await.expect("an answer");
    assert_eq!((leader.asked(), follower.asked()), (1, 0));
}

#[tokio::test]
async fn a_node_that_leads_serves_calls_itself() {
    let stored = Stored::default();
    let (_known, known) = watch::channel(Target::Here);
    let leader = Node::start_following(&stored, known);
    let proxy = Proxy::to(leader.target());
    let mut client = ProducerClient::new(proxy.forward.clone());
    client.prepare(request()).await.expect("an answer");
    assert_eq!(leader.asked(), 1);
}

#[tokio::test]
async fn nodes_that_take_each_other_for_the_leader_do_not_pass_a_call_in_circles() {
    let stored = Stored::default();
    let (first_knows, known) = watch::channel(Target::Nobody);
    let first = Node::start_following(&stored, known);
    let (_second_knows, known) = watch::channel(first.target());
    let second = Node::start_following(&stored, known);
    first_knows.send_replace(second.target());
    let proxy = Proxy::with(first.target(), impatient());
    let mut client = ProducerClient::new(proxy.forward.clone());
    let limit = Duration::from_secs(20);
    let refused = timeout(limit, client.prepare(request())).await;
    let status = refused.expect("no circle").expect_err("nobody leads");
    assert_eq!(reason(&status), "NO_LEADER");
    assert_eq!((first.asked(), second.asked()), (0, 0));
}
