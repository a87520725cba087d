//! Consumer groups, which every data group knows: from their first use there, or because an
//! operator made them. Each has its own part of the progress.

use std::collections::BTreeMap;

use http::{Request, Response};
use outrigger_proto::stored::{
    ConsumerGroup, CreateConsumerGroupRequest, DescribeConsumerGroupRequest,
    ListConsumerGroupsRequest, ListConsumerGroupsResponse,
};
use tonic::{Status, body::Body};

use super::{Groups, all, client, found};
use crate::route::wire;

/// Makes it in every data group, in their order. What exists stays as it is, so a call that
/// failed half-way is completed by repeating it.
pub(super) async fn create(
    groups: &Groups,
    request: Request<Body>,
) -> Result<Response<Body>, Status> {
    let (head, message) = wire::read(request, groups.options.request_bytes_max).await?;
    let asked: CreateConsumerGroupRequest = wire::decode(&message)?;
    let mut made = Vec::new();
    for way in groups.ways() {
        let request = wire::call(&head, asked.clone());
        let answer = client(groups, way).create_consumer_group(request).await?;
        made.push(answer.into_inner());
    }
    Ok(wire::answer(&merged(made).pop().unwrap_or_default()))
}

/// Those of all data groups, by name.
pub(super) async fn list(
    groups: &Groups,
    request: Request<Body>,
) -> Result<Response<Body>, Status> {
    let (head, message) = wire::read(request, groups.options.request_bytes_max).await?;
    let asked: ListConsumerGroupsRequest = wire::decode(&message)?;
    let answers = all(groups, |mut client| {
        let request = wire::call(&head, asked);
        async move { client.list_consumer_groups(request).await }
    })
    .await;
    let mut listed = Vec::new();
    for answer in answers {
        listed.extend(answer?.groups);
    }
    let groups = merged(listed);
    Ok(wire::answer(&ListConsumerGroupsResponse { groups }))
}

/// One of them, as far as it has come anywhere.
pub(super) async fn describe(
    groups: &Groups,
    request: Request<Body>,
) -> Result<Response<Body>, Status> {
    let (head, message) = wire::read(request, groups.options.request_bytes_max).await?;
    let asked: DescribeConsumerGroupRequest = wire::decode(&message)?;
    let answers = all(groups, |mut client| {
        let request = wire::call(&head, asked.clone());
        async move { client.describe_consumer_group(request).await }
    })
    .await;
    let group = merged(found(answers)?).pop();
    Ok(wire::answer(&group.unwrap_or_default()))
}

/// One of each name, with the progress in all data groups, and the settings that the lowest
/// one has.
fn merged(groups: Vec<ConsumerGroup>) -> Vec<ConsumerGroup> {
    let mut by_name = BTreeMap::<String, ConsumerGroup>::new();
    for group in groups {
        match by_name.get_mut(&group.consumer_group) {
            Some(known) => known.queues.extend(group.queues),
            None => {
                by_name.insert(group.consumer_group.clone(), group);
            }
        }
    }
    by_name.into_values().collect()
}
