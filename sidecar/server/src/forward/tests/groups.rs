use std::{sync::Arc, time::Duration};

use outrigger_proto::v1::{self, producer_client::ProducerClient};
use tokio::{
    sync::{Notify, watch},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, service::Routes};
use tower::Layer as _;

use super::{
    Forward, Forwarder, impatient,
    node::{Behaviour, Node, Stored},
    reason,
};
use crate::forward::{Opened, Port, PortLayer, Ways};

const WAIT_MS: u64 = 20_000;

/// Ways to data groups that are led by these nodes.
fn ways(leaders: &[&Node]) -> Ways {
    let targets = leaders.iter().map(|node| watch::channel(node.target()).1);
    let forwarders = Forwarder::for_groups(
        targets.collect(),
        &impatient(),
        &Arc::new(Notify::new()),
        &CancellationToken::new(),
    );
    Ways::new(forwarders.into_iter().map(Forward::client).collect()).expect("few groups")
}

fn port(layer: &PortLayer) -> ProducerClient<Port> {
    ProducerClient::new(layer.layer(Routes::default()))
}

fn prepare(group: Option<&'static str>) -> Request<v1::PrepareRequest> {
    let mut request = Request::new(v1::PrepareRequest {
        transaction_id: "one".to_owned(),
        ..Default::default()
    });
    if let Some(group) = group {
        let name = "outrigger-data-group";
        request.metadata_mut().insert(name, group.parse().unwrap());
    }
    request
}

#[tokio::test]
async fn a_call_goes_to_the_data_group_that_it_names_and_says_so() {
    let stored = Stored::default();
    let leaders = [(); 3].map(|()| Node::start(&stored, Behaviour::Lead));
    let layer = PortLayer::new(WAIT_MS);
    let [zero, one, two] = &leaders;
    layer.open(Opened::new(ways(&[zero, one, two]), None));
    let mut client = port(&layer);
    client.prepare(prepare(Some("1"))).await.expect("an answer");
    let asked: Vec<_> = leaders.iter().map(Node::asked).collect();
    assert_eq!(asked, [0, 1, 0]);
    client.prepare(prepare(Some("0"))).await.expect("an answer");
    let named: Vec<_> = leaders.iter().map(Node::named).collect();
    assert_eq!(named, [vec!["0".to_owned()], vec!["1".to_owned()], vec![]]);
}

#[tokio::test]
async fn a_data_group_that_does_not_exist_is_refused_by_name() {
    let stored = Stored::default();
    let node = Node::start(&stored, Behaviour::Lead);
    let several = PortLayer::new(WAIT_MS);
    several.open(Opened::new(ways(&[&node, &node]), None));
    let single = PortLayer::new(WAIT_MS);
    single.open(Opened::new(ways(&[&node]), None));
    for (layer, group) in [(&several, "2"), (&several, "one"), (&single, "1")] {
        let refused = port(layer).prepare(prepare(Some(group))).await.unwrap_err();
        assert_eq!(reason(&refused), "UNKNOWN_DATA_GROUP", "{refused}");
        assert!(refused.message().contains(group), "{refused}");
    }
    assert_eq!(node.asked(), 0);
}

#[tokio::test]
async fn with_one_data_group_nothing_is_named_and_nothing_split_up() {
    let stored = Stored::default();
    let node = Node::start(&stored, Behaviour::Lead);
    let layer = PortLayer::new(WAIT_MS);
    layer.open(Opened::new(ways(&[&node]), None));
    port(&layer)
        .prepare(prepare(None))
        .await
        .expect("an answer");
    assert_eq!((node.asked(), node.named()), (1, vec![]));
}

#[tokio::test]
async fn with_several_and_no_router_applications_are_told() {
    let stored = Stored::default();
    let node = Node::start(&stored, Behaviour::Lead);
    let layer = PortLayer::new(WAIT_MS);
    layer.open(Opened::new(ways(&[&node, &node]), None));
    let refused = port(&layer).prepare(prepare(None)).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
    assert_eq!(reason(&refused), "NOT_ROUTED");
}

#[tokio::test]
async fn calls_wait_until_the_number_of_data_groups_is_known() {
    let stored = Stored::default();
    let node = Node::start(&stored, Behaviour::Lead);
    let layer = PortLayer::new(WAIT_MS);
    let mut client = port(&layer);
    let asking = tokio::spawn(async move { client.prepare(prepare(None)).await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(node.asked(), 0);
    layer.open(Opened::new(ways(&[&node]), None));
    let answered = timeout(Duration::from_secs(30), asking).await;
    answered.expect("in time").unwrap().expect("an answer");

    let closed = PortLayer::new(50);
    let refused = port(&closed).prepare(prepare(None)).await.unwrap_err();
    assert_eq!(reason(&refused), "NO_LEADER");
}
