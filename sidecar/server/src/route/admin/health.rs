use http::{Request, Response};
use outrigger_proto::stored::{HealthRequest, HealthResponse};
use tonic::{Code, Status, body::Body};

use super::{Groups, all};
use crate::route::wire;

/// Ready when every data group is; counts are sums. Who answers is the leader of the first
/// data group that has one.
pub(super) async fn sum(groups: &Groups, request: Request<Body>) -> Result<Response<Body>, Status> {
    let (head, message) = wire::read(request, groups.options.request_bytes_max).await?;
    let asked: HealthRequest = wire::decode(&message)?;
    let answers = all(groups, |mut client| {
        let request = wire::call(&head, asked);
        async move { client.health(request).await }
    })
    .await;
    let mut sum: Option<HealthResponse> = None;
    let mut without_leader = None;
    for answer in answers {
        match answer {
            Err(status) if status.code() == Code::Unavailable => without_leader = Some(status),
            Err(status) => return Err(status),
            Ok(one) => {
                sum = Some(match sum {
                    None => one,
                    Some(sum) => HealthResponse {
                        ready: sum.ready && one.ready,
                        applied_index: sum.applied_index + one.applied_index,
                        unresolved_transactions: sum.unresolved_transactions
                            + one.unresolved_transactions,
                        parked_transactions: sum.parked_transactions + one.parked_transactions,
                        ..sum
                    },
                });
            }
        }
    }
    match (sum, without_leader) {
        (Some(sum), without_leader) => Ok(wire::answer(&HealthResponse {
            ready: sum.ready && without_leader.is_none(),
            ..sum
        })),
        (None, Some(status)) => Err(status),
        (None, None) => Err(Status::internal("there is no data group")),
    }
}
