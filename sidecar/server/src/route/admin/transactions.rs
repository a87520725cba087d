//! Unresolved transactions: those of one data group after the other. The page says which one
//! is next and where to go on in it, as in `2:1234`.

use http::{Request, Response};
use outrigger_proto::stored::{ListTransactionsRequest, ListTransactionsResponse};
use tonic::{Status, body::Body};

use super::{Groups, client};
use crate::{edge::status::Failure, route::wire};

/// As many as are asked for when nothing is said; each data group says the same.
const LISTED_DEFAULT: u32 = 100;

pub(super) async fn list(
    groups: &Groups,
    request: Request<Body>,
) -> Result<Response<Body>, Status> {
    let (head, message) = wire::read(request, groups.options.request_bytes_max).await?;
    let asked: ListTransactionsRequest = wire::decode(&message)?;
    let (mut group, mut page) = split(&asked.page, groups.placement.groups())?;
    let limit = match asked.limit {
        0 => LISTED_DEFAULT,
        limit => limit,
    };
    let mut transactions = Vec::new();
    loop {
        let listed = u32::try_from(transactions.len()).unwrap_or(u32::MAX);
        let request = ListTransactionsRequest {
            limit: limit.saturating_sub(listed),
            page,
            ..asked.clone()
        };
        let mut client = client(groups, groups.way(group)?);
        let answer = client.list_transactions(wire::call(&head, request)).await?;
        let answer = answer.into_inner();
        transactions.extend(answer.transactions);
        page = answer.next_page;
        if page.is_empty() {
            group += 1;
        }
        let is_full = transactions.len() >= limit as usize;
        if group >= groups.placement.groups() || is_full || !page.is_empty() {
            break;
        }
    }
    let next_page = match group < groups.placement.groups() {
        true => format!("{group}:{page}"),
        false => String::new(),
    };
    Ok(wire::answer(&ListTransactionsResponse {
        transactions,
        next_page,
    }))
}

/// The data group that a page is of, and the page in it.
fn split(page: &str, groups: u32) -> Result<(u32, String), Failure> {
    if page.is_empty() {
        return Ok((0, String::new()));
    }
    let known = page.split_once(':').and_then(|(group, page)| {
        let group = group.parse().ok().filter(|group| *group < groups)?;
        Some((group, page.to_owned()))
    });
    known.ok_or_else(|| {
        let allowed = "the next_page of an earlier answer";
        Failure::invalid("ILLEGAL_PAGE", "page", page, allowed)
    })
}
