//! Ack, Nack and Extend: each receipt at the data group that has given it out.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::future::join_all;
use http::{Request, Response};
use outrigger_proto::stored::{
    AckRequest, AckResponse, Extend, ExtendRequest, ExtendResponse, Nack, NackRequest,
    NackResponse, ReceiptError, consumer_client::ConsumerClient,
};
use tonic::{Status, body::Body};

use super::{failure, receipt, router::Groups, way::Way, wire};
use crate::edge::check_batch;

/// Says something of the lease that a receipt names.
trait Named {
    fn receipt(&mut self) -> &mut Bytes;
}

impl Named for Bytes {
    fn receipt(&mut self) -> &mut Bytes {
        self
    }
}

impl Named for Nack {
    fn receipt(&mut self) -> &mut Bytes {
        &mut self.receipt
    }
}

impl Named for Extend {
    fn receipt(&mut self) -> &mut Bytes {
        &mut self.receipt
    }
}

type Errors = Vec<ReceiptError>;

/// The call Ack.
pub(super) async fn ack(groups: &Groups, request: Request<Body>) -> Result<Response<Body>, Status> {
    let (head, message) = wire::read(request, groups.options.request_bytes_max).await?;
    let asked: AckRequest = wire::decode(&message)?;
    check_batch("receipts", asked.receipts.len())?;
    let consumer_group = asked.consumer_group;
    let errors = settle(groups, asked.receipts, |mut client, receipts| {
        let consumer_group = consumer_group.clone();
        let request = AckRequest {
            consumer_group,
            receipts,
        };
        let request = wire::call(&head, request);
        async move { Ok(client.ack(request).await?.into_inner().errors) }
    })
    .await?;
    Ok(wire::answer(&AckResponse { errors }))
}

/// The call Nack.
pub(super) async fn nack(
    groups: &Groups,
    request: Request<Body>,
) -> Result<Response<Body>, Status> {
    let (head, message) = wire::read(request, groups.options.request_bytes_max).await?;
    let asked: NackRequest = wire::decode(&message)?;
    check_batch("nacks", asked.nacks.len())?;
    let consumer_group = asked.consumer_group;
    let errors = settle(groups, asked.nacks, |mut client, nacks| {
        let consumer_group = consumer_group.clone();
        let request = NackRequest {
            consumer_group,
            nacks,
        };
        let request = wire::call(&head, request);
        async move { Ok(client.nack(request).await?.into_inner().errors) }
    })
    .await?;
    Ok(wire::answer(&NackResponse { errors }))
}

/// The call Extend.
pub(super) async fn extend(
    groups: &Groups,
    request: Request<Body>,
) -> Result<Response<Body>, Status> {
    let (head, message) = wire::read(request, groups.options.request_bytes_max).await?;
    let asked: ExtendRequest = wire::decode(&message)?;
    check_batch("extends", asked.extends.len())?;
    let consumer_group = asked.consumer_group;
    let errors = settle(groups, asked.extends, |mut client, extends| {
        let consumer_group = consumer_group.clone();
        let request = ExtendRequest {
            consumer_group,
            extends,
        };
        let request = wire::call(&head, request);
        async move { Ok(client.extend(request).await?.into_inner().errors) }
    })
    .await?;
    Ok(wire::answer(&ExtendResponse { errors }))
}

/// Asks every data group that is concerned. When one of several cannot be asked, its receipts
/// have that as their error: what the others have recorded stays recorded.
async fn settle<T: Named + Clone, F>(
    groups: &Groups,
    items: Vec<T>,
    ask: impl Fn(ConsumerClient<Way>, Vec<T>) -> F,
) -> Result<Errors, Status>
where
    F: Future<Output = Result<Errors, Status>>,
{
    let mut errors = Vec::new();
    let mut shares = BTreeMap::<u32, Vec<T>>::new();
    if items.is_empty() {
        // Whether there is such a consumer group is said all the same.
        shares.insert(0, Vec::new());
    }
    for mut item in items {
        match receipt::unwrap(item.receipt(), groups.placement.groups()) {
            Ok((group, receipt)) => {
                *item.receipt() = receipt;
                shares.entry(group).or_default().push(item);
            }
            Err(failure) => errors.push(ReceiptError {
                receipt: item.receipt().clone(),
                error: Some(failure.into()),
            }),
        }
    }
    let is_alone = shares.len() == 1 && errors.is_empty();
    let mut asked = Vec::with_capacity(shares.len());
    for (group, items) in shares {
        let client = ConsumerClient::new(groups.way(group)?.clone());
        let client = client.max_decoding_message_size(groups.options.response_bytes_max);
        let answer = ask(client, items.clone());
        asked.push(async move { (group, items, answer.await) });
    }
    for (group, items, answer) in join_all(asked).await {
        let of_group = match answer {
            Ok(errors) => errors,
            Err(status) if is_alone => return Err(status),
            Err(status) => {
                let error = failure::error(&status);
                let refused = items.into_iter().map(|mut item| ReceiptError {
                    receipt: item.receipt().clone(),
                    error: Some(error.clone()),
                });
                refused.collect()
            }
        };
        errors.extend(of_group.into_iter().map(|error| ReceiptError {
            receipt: receipt::wrap(group, &error.receipt),
            ..error
        }));
    }
    Ok(errors)
}
