//! What has to come to an end before replicas can be compared.

use std::time::Duration;

use outrigger_proto::v1::{self, admin_client::AdminClient};

use super::{load, observe};
use crate::cluster::get;

/// Longer than nodes take from one look at their gauges to the next.
const GAUGES_MS: u64 = 1_500;
const OUTGOING: &str = "outrigger_messages_outgoing";

/// Half-messages without a verdict.
pub(super) async fn undecided(edges: &[String]) -> Option<usize> {
    for edge in edges {
        let Ok(mut admin) = AdminClient::connect(edge.clone()).await else {
            continue;
        };
        let mut request = v1::ListTransactionsRequest::default();
        let mut count = 0;
        while let Ok(answer) = admin.list_transactions(request.clone()).await {
            let answer = answer.into_inner();
            count += answer.transactions.len();
            if answer.next_page.is_empty() {
                return Some(count);
            }
            request.page = answer.next_page;
        }
    }
    None
}

/// Waits until the gauges of all nodes are newer than this call.
pub(super) async fn gauges_are_new() {
    tokio::time::sleep(Duration::from_millis(GAUGES_MS)).await;
}

/// Messages of committed transactions that are not yet where they belong, as the node says
/// that has most to say; none when a node does not answer.
pub(super) async fn outgoing(http: &[&str], groups: u32) -> Option<u64> {
    let mut most = 0;
    for address in http {
        let metrics = get(address, "/metrics").await.ok()?;
        let lines = metrics.lines().filter(|line| line.starts_with(OUTGOING));
        let counts = lines.map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
        let counts = counts.collect::<Option<Vec<_>>>()?;
        // One data group has no others to send to, and says nothing of it.
        if groups > 1 && counts.len() != groups as usize {
            return None;
        }
        most = counts.iter().sum::<u64>().max(most);
    }
    Some(most)
}

/// Messages that some consumer group has still to finish.
pub(super) async fn backlog(edges: &[String]) -> Option<u64> {
    let mut total = 0;
    for group in load::CONSUMER_GROUPS {
        let mut left = None;
        for edge in edges {
            let Ok(mut admin) = AdminClient::connect(edge.clone()).await else {
                continue;
            };
            let request = v1::DescribeConsumerGroupRequest {
                consumer_group: group.to_owned(),
            };
            if let Ok(answer) = admin.describe_consumer_group(request).await {
                let queues = answer.into_inner().queues;
                left = Some(queues.iter().map(|queue| queue.backlog).sum::<u64>());
                break;
            }
        }
        total += left?;
    }
    Some(total)
}

/// True when all nodes have applied the same of all data groups, and go on having done so.
pub(super) async fn is_level(edges: &[String], groups: u32) -> bool {
    const STAYS_MS: u64 = 500;
    let Some(first) = applied(edges, groups).await else {
        return false;
    };
    tokio::time::sleep(Duration::from_millis(STAYS_MS)).await;
    applied(edges, groups).await == Some(first)
}

/// The last entry of each data group that all nodes have applied; none when they differ.
async fn applied(edges: &[String], groups: u32) -> Option<Vec<u64>> {
    let asked = edges.iter().map(async |edge| {
        let mut indexes = Vec::new();
        for group in 0..groups {
            indexes.push(observe::digest(edge, group).await?.applied_index);
        }
        anyhow::Ok(indexes)
    });
    let answers = futures::future::join_all(asked).await;
    let indexes: anyhow::Result<Vec<_>> = answers.into_iter().collect();
    let indexes = indexes.ok()?;
    let first = indexes.first()?;
    let same = indexes.iter().all(|index| index == first);
    same.then(|| first.clone())
}
