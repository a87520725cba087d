use std::time::Duration;

use outrigger_core::{
    limits::SAGA_MESSAGE_CHARACTERS_MAX,
    saga::{
        Phase,
        ledger::{Answer, Command, Reported},
    },
};
use outrigger_sdk::{
    Client, Stop,
    consumer::{Received, Retry},
};
use tokio::time::sleep;
use tonic::{Code, Status};

use super::{GROUP, OUTCOME, PHASE, REPLY_TOPIC, SAGA_ID, STEP};
use crate::saga::{
    executor::Handle,
    remote::PortStore,
    store::{Refused, Store as _},
};

/// Replies that are worked on at a time.
const REPLIES_MAX: usize = 256;
/// How soon receiving begins again after it has ended with an error.
const PAUSE: Duration = Duration::from_secs(1);

/// Receives replies until it is stopped.
pub(super) async fn receive(
    client: Client,
    store: PortStore,
    executor: Option<Handle>,
    stop: Stop,
) {
    while !stop.is_stopped() {
        let (store, executor) = (store.clone(), executor.clone());
        let consumer = client
            .consumer(GROUP)
            .subscribe(REPLY_TOPIC, "*")
            .concurrency(REPLIES_MAX)
            .stop(stop.clone());
        let received = consumer.run(move |reply| {
            let (store, executor) = (store.clone(), executor.clone());
            async move { take(&store, executor.as_ref(), &reply).await }
        });
        if let Err(error) = received.await {
            tracing::warn!(topic = REPLY_TOPIC, %error, "replies to sagas cannot be received");
        }
        tokio::select! {
            () = sleep(PAUSE) => {}
            () = stop.stopped() => {}
        }
    }
}

/// Records one reply. One that makes no sense, or that nobody waits for, is done with.
async fn take(store: &PortStore, executor: Option<&Handle>, reply: &Received) -> Result<(), Retry> {
    let (saga, command) = match read(reply) {
        Ok(read) => read,
        Err(problem) => {
            tracing::warn!(
                message_id = reply.id(),
                problem,
                "this is no reply to a saga"
            );
            return Ok(());
        }
    };
    let group = store.placement().saga(&saga);
    let answers = store.carry_out(group, vec![command]).await;
    match answers.map(|answers| answers.into_iter().next()) {
        Ok(Some(Ok(Answer::Acted { .. }))) => {
            if let Some(executor) = executor {
                executor.poke(&saga);
            }
            Ok(())
        }
        Ok(Some(Err(Refused { message, .. }))) => {
            tracing::debug!(saga, problem = message, "a reply changes nothing");
            Ok(())
        }
        Ok(other) => {
            tracing::error!(saga, "a reply was answered with {other:?}");
            Ok(())
        }
        Err(status) if is_for_good(&status) => {
            tracing::warn!(saga, %status, "a reply cannot be recorded");
            Ok(())
        }
        Err(status) => Err(status.into()),
    }
}

fn is_for_good(status: &Status) -> bool {
    matches!(status.code(), Code::InvalidArgument | Code::Unimplemented)
}

/// What a reply says.
pub(super) fn read(reply: &Received) -> Result<(String, Command), String> {
    let property = |name: &str| {
        let value = reply.properties().get(name);
        value
            .cloned()
            .ok_or_else(|| format!("it has no property {name}"))
    };
    let phase = property(PHASE)?;
    let phase = match phase.as_str() {
        "action" | "try" => Phase::Action,
        "undo" | "cancel" => Phase::Undo,
        "confirm" => Phase::Confirm,
        other => return Err(format!("{PHASE} is {other:?}")),
    };
    let outcome = property(OUTCOME)?;
    let outcome = match outcome.as_str() {
        "success" => Reported::Success {
            output: reply.body().clone(),
        },
        "failure" => {
            let message = String::from_utf8_lossy(reply.body());
            let message = message.chars().take(SAGA_MESSAGE_CHARACTERS_MAX);
            Reported::Failure {
                message: message.collect(),
            }
        }
        other => return Err(format!("{OUTCOME} is {other:?}")),
    };
    let saga = property(SAGA_ID)?;
    let command = Command::Report {
        saga: saga.clone(),
        step: property(STEP)?,
        phase,
        outcome,
    };
    Ok((saga, command))
}
