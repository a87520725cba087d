//! What operators ask of all data groups: lists, sums, and what exists in each of them.

mod consumer_groups;
mod health;
mod topics;
mod transactions;

use futures::future::join_all;
use http::{Request, Response};
use outrigger_proto::stored::admin_client::AdminClient;
use tonic::{Code, Status, body::Body};

use super::{router::Groups, way::Way};

pub(super) use topics::everywhere;

/// Answers a call that concerns all data groups; gives back what is none.
pub(super) async fn serve(
    groups: &Groups,
    request: Request<Body>,
) -> Result<Result<Response<Body>, Status>, Request<Body>> {
    Ok(match request.uri().path() {
        "/outrigger.v1.Admin/ListTopics" => topics::list(groups, request).await,
        "/outrigger.v1.Admin/CreateConsumerGroup" => consumer_groups::create(groups, request).await,
        "/outrigger.v1.Admin/ListConsumerGroups" => consumer_groups::list(groups, request).await,
        "/outrigger.v1.Admin/DescribeConsumerGroup" => {
            consumer_groups::describe(groups, request).await
        }
        "/outrigger.v1.Admin/ListTransactions" => transactions::list(groups, request).await,
        "/outrigger.v1.Admin/Health" => health::sum(groups, request).await,
        _ => return Err(request),
    })
}

fn client(groups: &Groups, way: &Way) -> AdminClient<Way> {
    AdminClient::new(way.clone()).max_decoding_message_size(groups.options.response_bytes_max)
}

/// Asks all data groups at the same time; the answers are in their order.
async fn all<T, F>(groups: &Groups, ask: impl Fn(AdminClient<Way>) -> F) -> Vec<Result<T, Status>>
where
    F: Future<Output = Result<tonic::Response<T>, Status>>,
{
    let asked = groups.ways().map(|way| {
        let answer = ask(client(groups, way));
        async { Ok(answer.await?.into_inner()) }
    });
    join_all(asked).await
}

/// The answers of those data groups that have what was asked for; NOT_FOUND when none has it.
fn found<T>(answers: Vec<Result<T, Status>>) -> Result<Vec<T>, Status> {
    let mut found = Vec::with_capacity(answers.len());
    let mut missing = None;
    for answer in answers {
        match answer {
            Ok(answer) => found.push(answer),
            Err(status) if status.code() == Code::NotFound => missing = Some(status),
            Err(status) => return Err(status),
        }
    }
    match missing {
        Some(missing) if found.is_empty() => Err(missing),
        Some(_) | None => Ok(found),
    }
}
