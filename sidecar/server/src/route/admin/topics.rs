//! Topics. One lies in one data group with all its queues; a dead-letter topic has queues in
//! every data group, each with numbers of its own.

use std::collections::BTreeMap;

use http::{Request, Response};
use outrigger_proto::stored::{ListTopicsRequest, ListTopicsResponse, Topic};
use tonic::{Status, body::Body};

use super::{Groups, all, found};
use crate::forward::Framed;
use crate::route::wire::{self, Head};

/// The topics of all data groups, by name.
pub(super) async fn list(
    groups: &Groups,
    request: Request<Body>,
) -> Result<Response<Body>, Status> {
    let (head, message) = wire::read(request, groups.options.request_bytes_max).await?;
    let asked: ListTopicsRequest = wire::decode(&message)?;
    let answers = all(groups, |mut client| {
        let request = wire::call(&head, asked);
        async move { client.list_topics(request).await }
    })
    .await;
    let mut listed = Vec::new();
    for answer in answers {
        listed.extend(answer?.topics);
    }
    let topics = merged(listed);
    Ok(wire::answer(&ListTopicsResponse { topics }))
}

/// A call for a topic that has a part in every data group, one after the other. What is made
/// is made in all of them, and a repeated call goes on where one failed; what is described is
/// what there is of it.
pub(in crate::route) async fn everywhere(
    groups: &Groups,
    head: &Head,
    message: &Framed,
) -> Result<Response<Body>, Status> {
    let mut answers = Vec::new();
    for way in groups.ways() {
        let response = way.ask(wire::request(head, message)).await;
        answers.push(wire::answered::<Topic>(response, groups.options.response_bytes_max).await);
    }
    let topic = merged(found(answers)?).pop();
    Ok(wire::answer(&topic.unwrap_or_default()))
}

/// One of each name, with the queues of all its parts.
fn merged(topics: Vec<Topic>) -> Vec<Topic> {
    let mut by_name = BTreeMap::<String, Topic>::new();
    for topic in topics {
        match by_name.get_mut(&topic.topic) {
            Some(known) => {
                known.queues.extend(topic.queues);
                known.created_at_ms = known.created_at_ms.min(topic.created_at_ms);
            }
            None => {
                by_name.insert(topic.topic.clone(), topic);
            }
        }
    }
    by_name.into_values().collect()
}
