//! The Consumer service: checks what consumers ask and passes it to delivery.

use std::collections::BTreeSet;

use futures::StreamExt as _;
use outrigger_core::{
    limits::{
        BATCH_COUNT_MAX, CREDITS_COUNT_MAX, INSTANCE_CHARACTERS_MAX, LEASE_MS_MAX, LEASE_MS_MIN,
        RECEIVE_COUNT_DEFAULT, RECEIVE_WAIT_MS_MAX, SUBSCRIPTIONS_COUNT_MAX,
    },
    name,
};
use outrigger_proto::stored::{
    AckRequest, AckResponse, ConsumeRequest, ConsumeResponse, Extend, ExtendRequest,
    ExtendResponse, Nack, NackRequest, NackResponse, ReceiveRequest, ReceiveResponse, Subscription,
    consumer_server::Consumer,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::status::Failure;
use crate::delivery::{
    Asked, AskedExtend, AskedNack, Filter, Receive, Service, Settle, Subscribed, too_many_credits,
};

#[tonic::async_trait]
impl Consumer for Service {
    type ConsumeStream = ReceiverStream<Result<ConsumeResponse, Status>>;

    async fn consume(
        &self,
        request: Request<Streaming<ConsumeRequest>>,
    ) -> Result<Response<Self::ConsumeStream>, Status> {
        let mut requests = request.into_inner();
        let Some(mut first) = requests.message().await? else {
            return Err(not_subscribed().into());
        };
        let subscribe = first.subscribe.take().ok_or_else(not_subscribed)?;
        check_instance(&subscribe.instance)?;
        let invisible_ms = invisible_ms(subscribe.invisible_ms, self.invisible_ms())?;
        let subscriptions = subscriptions(subscribe.subscriptions)?;
        check_group(&subscribe.consumer_group)?;
        let first = asked(first)?;
        if first.credits > CREDITS_COUNT_MAX {
            return Err(too_many_credits(first.credits).into());
        }
        let (group, wanted) = self
            .resolve(&subscribe.consumer_group, subscriptions)
            .await?;
        let subscribed = Subscribed {
            group,
            wanted,
            invisible_ms,
            credits: first.credits,
        };
        let first = Asked {
            credits: 0,
            ..first
        };
        let later = requests.map(|request| Ok(asked(request?)?));
        let requests = futures::stream::iter([Ok(first)]).chain(later);
        let responses = Service::consume(self, subscribed, requests).await?;
        Ok(Response::new(responses))
    }

    async fn receive(
        &self,
        request: Request<ReceiveRequest>,
    ) -> Result<Response<ReceiveResponse>, Status> {
        let request = request.into_inner();
        check_group(&request.consumer_group)?;
        check_instance(&request.instance)?;
        let max_messages = match request.max_messages {
            0 => RECEIVE_COUNT_DEFAULT,
            count => at_most("max_messages", count, BATCH_COUNT_MAX as u32)?,
        };
        let wait_ms = at_most("wait_ms", request.wait_ms, RECEIVE_WAIT_MS_MAX)?;
        let invisible_ms = invisible_ms(request.invisible_ms, self.invisible_ms())?;
        let subscriptions = subscriptions(request.subscriptions)?;
        let (group, wanted) = self.resolve(&request.consumer_group, subscriptions).await?;
        let receive = Receive {
            group,
            wanted,
            max_messages,
            wait_ms,
            invisible_ms,
        };
        let deliveries = Service::receive(self, receive).await?;
        Ok(Response::new(ReceiveResponse { deliveries }))
    }

    async fn ack(&self, request: Request<AckRequest>) -> Result<Response<AckResponse>, Status> {
        let request = request.into_inner();
        check_batch("receipts", request.receipts.len())?;
        let settle = Settle {
            acks: request.receipts,
            ..Settle::default()
        };
        let errors = self.settle(&request.consumer_group, settle).await?;
        Ok(Response::new(AckResponse { errors }))
    }

    async fn nack(&self, request: Request<NackRequest>) -> Result<Response<NackResponse>, Status> {
        let request = request.into_inner();
        check_batch("nacks", request.nacks.len())?;
        let settle = Settle {
            nacks: asked_nacks(request.nacks),
            ..Settle::default()
        };
        let errors = self.settle(&request.consumer_group, settle).await?;
        Ok(Response::new(NackResponse { errors }))
    }

    async fn extend(
        &self,
        request: Request<ExtendRequest>,
    ) -> Result<Response<ExtendResponse>, Status> {
        let request = request.into_inner();
        check_batch("extends", request.extends.len())?;
        let settle = Settle {
            extends: asked_extends(request.extends),
            ..Settle::default()
        };
        let errors = self.settle(&request.consumer_group, settle).await?;
        Ok(Response::new(ExtendResponse { errors }))
    }
}

pub(crate) fn not_subscribed() -> Failure {
    let allowed = "set in the first request of the stream, and only there";
    Failure::invalid("SUBSCRIBE_MISSING", "subscribe", "not set", allowed)
}

/// Looks at a request, but for the subscription of the first one.
pub(crate) fn check_request(request: &ConsumeRequest) -> Result<(), Failure> {
    if request.subscribe.is_some() {
        let allowed = "set in the first request of the stream, and only there";
        let reason = "SUBSCRIBED_TWICE";
        return Err(Failure::invalid(reason, "subscribe", "set again", allowed));
    }
    check_batch("acks", request.acks.len())?;
    check_batch("nacks", request.nacks.len())?;
    check_batch("extends", request.extends.len())
}

/// A request after the first one.
fn asked(request: ConsumeRequest) -> Result<Asked, Failure> {
    check_request(&request)?;
    Ok(Asked {
        credits: request.credits,
        request_id: request.request_id,
        settle: Settle {
            acks: request.acks,
            nacks: asked_nacks(request.nacks),
            extends: asked_extends(request.extends),
        },
    })
}

fn asked_nacks(nacks: Vec<Nack>) -> Vec<AskedNack> {
    let nacks = nacks.into_iter();
    nacks
        .map(|nack| AskedNack {
            receipt: nack.receipt,
            delay_ms: nack.delay_ms,
        })
        .collect()
}

fn asked_extends(extends: Vec<Extend>) -> Vec<AskedExtend> {
    let extends = extends.into_iter();
    extends
        .map(|extend| AskedExtend {
            receipt: extend.receipt,
            invisible_ms: extend.invisible_ms,
        })
        .collect()
}

pub(crate) fn check_batch(field: &'static str, count: usize) -> Result<(), Failure> {
    if count <= BATCH_COUNT_MAX {
        return Ok(());
    }
    Err(Failure::invalid(
        "BATCH_TOO_LARGE",
        field,
        format_args!("{count} entries"),
        format_args!("at most {BATCH_COUNT_MAX}"),
    ))
}

fn subscriptions(asked: Vec<Subscription>) -> Result<Vec<(String, Filter)>, Failure> {
    if !(1..=SUBSCRIPTIONS_COUNT_MAX).contains(&asked.len()) {
        return Err(Failure::invalid(
            "ILLEGAL_SUBSCRIPTIONS",
            "subscriptions",
            format_args!("{} subscriptions", asked.len()),
            format_args!("1 to {SUBSCRIPTIONS_COUNT_MAX}"),
        ));
    }
    let mut topics = BTreeSet::new();
    let mut checked = Vec::with_capacity(asked.len());
    for Subscription { topic, filter } in asked {
        name::check_topic("subscriptions.topic", &topic)?;
        if !topics.insert(topic.clone()) {
            let (reason, field) = ("ILLEGAL_SUBSCRIPTIONS", "subscriptions.topic");
            return Err(Failure::invalid(reason, field, topic, "each topic once"));
        }
        checked.push((topic, Filter::parse(&filter)?));
    }
    Ok(checked)
}

fn check_group(group: &str) -> Result<(), Failure> {
    Ok(name::check_group("consumer_group", group)?)
}

fn check_instance(instance: &str) -> Result<(), Failure> {
    let characters = instance.chars().count();
    if characters <= INSTANCE_CHARACTERS_MAX {
        return Ok(());
    }
    Err(Failure::invalid(
        "ILLEGAL_INSTANCE",
        "instance",
        format_args!("{characters} characters"),
        format_args!("at most {INSTANCE_CHARACTERS_MAX} characters"),
    ))
}

fn invisible_ms(asked: u64, default: u64) -> Result<u64, Failure> {
    match asked {
        0 => Ok(default),
        LEASE_MS_MIN..=LEASE_MS_MAX => Ok(asked),
        _ => {
            let limit = format_args!("{LEASE_MS_MIN} to {LEASE_MS_MAX} ms");
            Err(Failure::invalid(
                "OUT_OF_BOUNDS",
                "invisible_ms",
                asked,
                limit,
            ))
        }
    }
}

fn at_most<T: Ord + std::fmt::Display>(
    field: &'static str,
    value: T,
    limit: T,
) -> Result<T, Failure> {
    if value <= limit {
        return Ok(value);
    }
    let limit = format_args!("at most {limit}").to_string();
    Err(Failure::invalid("OUT_OF_BOUNDS", field, value, limit))
}
