use outrigger_proto::v1::{self, producer_client::ProducerClient};
use tonic::{Code, Streaming};

use super::{
    Proxy, Target, impatient,
    node::{Behaviour, Node, Stored},
    reason,
};

async fn open(proxy: &Proxy) -> Result<Streaming<v1::CheckBackResponse>, tonic::Status> {
    let mut client = ProducerClient::new(proxy.forward.clone());
    let requests = tokio_stream::pending::<v1::CheckBackRequest>();
    Ok(client.check_back(requests).await?.into_inner())
}

async fn opened(proxy: &Proxy) -> Streaming<v1::CheckBackResponse> {
    let mut answers = open(proxy).await.expect("a stream");
    answers
        .message()
        .await
        .expect("no error")
        .expect("the first answer");
    answers
}

#[tokio::test]
async fn a_stream_ends_when_its_leader_dies() {
    let mut leader = Node::start(&Stored::default(), Behaviour::Lead);
    let proxy = Proxy::to(leader.target());
    let mut answers = opened(&proxy).await;
    leader.kill();
    let status = answers.message().await.expect_err("the leader is gone");
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(reason(&status), "LEADER_CHANGED");
}

#[tokio::test]
async fn a_stream_ends_when_another_node_leads_but_not_while_nobody_does() {
    let stored = Stored::default();
    let former = Node::start(&stored, Behaviour::Lead);
    let leader = Node::start(&stored, Behaviour::Lead);
    let proxy = Proxy::to(former.target());
    let mut answers = opened(&proxy).await;
    proxy.target.send_replace(Target::Nobody);
    proxy.leads(&former);
    tokio::select! {
        biased;
        answer = answers.message() => panic!("it ended: {answer:?}"),
        () = tokio::task::yield_now() => {}
    }
    proxy.leads(&leader);
    let status = answers.message().await.expect_err("somebody else leads");
    assert_eq!(reason(&status), "LEADER_CHANGED");
    opened(&proxy).await;
}

#[tokio::test]
async fn a_stream_is_not_opened_without_a_leader() {
    let proxy = Proxy::with(Target::Nobody, impatient());
    let status = open(&proxy).await.expect_err("nobody leads");
    assert_eq!(reason(&status), "NO_LEADER");
}
