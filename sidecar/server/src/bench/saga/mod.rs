//! What a saga costs: steps one after the other, over HTTP, every event synced.

mod called;
pub(super) mod orphans;
pub(super) mod participants;

use std::time::{Duration, Instant};

use outrigger_sdk::{
    Client,
    saga::{self, Endpoint, Retry, Status, StepRef, wire::SagaDefinition},
};
use tokio::task::JoinSet;

use super::{
    Arguments,
    load::{Meter, Seen},
    report::Report,
    served::Served,
};
use called::Called;

/// The name of the definition.
const DEFINITION: &str = "bench";
/// How long a saga may take before it counts as an error.
const SAGA_MAX: Duration = Duration::from_secs(60);
/// How long a participant puts a step off that it holds.
const HOLD: Duration = Duration::from_secs(3_600);

/// Every task runs one saga after the other, and waits for its end.
pub(super) async fn run(
    arguments: &Arguments,
    served: &Served,
    client: &Client,
) -> anyhow::Result<Report> {
    let called = Called::start().await?;
    let sagas = client.sagas();
    let steps = steps(arguments, &called);
    sagas.define(&definition(DEFINITION, &steps)?).await?;
    let report = load(arguments, served, &called, &sagas).await?;
    called.stop().await;
    Ok(report)
}

/// Runs the load, and says what it cost.
async fn load(
    arguments: &Arguments,
    served: &Served,
    called: &Called,
    sagas: &saga::Client,
) -> anyhow::Result<Report> {
    let mut served = served.clone();
    served.helpers.extend(called.process());
    let meter = Meter::start(&served);
    let until = Instant::now() + Duration::from_secs(arguments.seconds);
    let mut tasks = JoinSet::new();
    for task in 0..arguments.concurrency {
        tasks.spawn(one_after_the_other(sagas.clone(), task, until));
    }
    let mut seen = Seen::new()?;
    while let Some(own) = tasks.join_next().await {
        seen.add(&own??)?;
    }
    Ok(meter.report("saga", &seen))
}

async fn one_after_the_other(
    sagas: saga::Client,
    task: u32,
    until: Instant,
) -> anyhow::Result<Seen> {
    let mut seen = Seen::new()?;
    for number in 0_u64.. {
        let started = Instant::now();
        if started >= until {
            break;
        }
        let id = format!("bench-{task}-{number}");
        match sagas.start(id, DEFINITION, &()).wait(SAGA_MAX).await {
            Ok(saga) if saga.status == Status::Completed => seen.acknowledged(started),
            Ok(saga) => {
                tracing::error!(saga = saga.saga_id, status = ?saga.status, "a saga failed");
                seen.errors += 1;
            }
            Err(error) => {
                tracing::error!(%error, "a saga failed");
                seen.errors += 1;
            }
        }
    }
    Ok(seen)
}

/// Where the steps lie: at both participants in turn.
fn steps(arguments: &Arguments, called: &Called) -> Vec<String> {
    let both = [&called.prompt, &called.holding];
    let addresses = both.into_iter().cycle().cloned();
    addresses.take(arguments.steps as usize).collect()
}

/// Steps at these addresses, one after the other.
fn definition(name: &str, addresses: &[String]) -> anyhow::Result<SagaDefinition> {
    let mut saga = saga::define::<()>(name);
    let input = saga.input();
    let mut before: Option<StepRef<()>> = None;
    for (number, address) in (1..).zip(addresses) {
        let number: u32 = number;
        let step = saga.step(format!("step-{number}"), endpoint(address), &input);
        let step = step.undo(endpoint(address));
        let step = match &before {
            Some(before) => step.after(before),
            None => step,
        };
        before = Some(step.add());
    }
    Ok(saga.build()?)
}

fn endpoint(address: &str) -> Endpoint<(), ()> {
    let later = Retry::new().base(HOLD).cap(HOLD);
    Endpoint::http(format!("http://{address}/"))
        .retry(Retry::new().unbounded())
        .retry_when(saga::ErrorClass::Ongoing, later)
}
