use std::time::Duration;

use outrigger_log::{
    Log,
    cluster::{Leadership, Member},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use tonic::Code;

use super::{Error, gate::Stage, tenure::Tenure};
use crate::{config::Config, delivery::shutting_down, edge::status::Failure, http::Readiness};

/// Without a leader for so long a node is not ready. Elections take less.
const LEADERLESS_MS_MAX: u64 = 2_000;

/// Opens and closes the gate as this node gains and loses the lead, until it is told to stop.
pub(super) async fn follow(
    config: Config,
    log: Log,
    readiness: Readiness,
    stage: watch::Sender<Stage>,
    mut stopping: watch::Receiver<bool>,
) -> Result<(), Error> {
    let mut leadership = log.leadership();
    let mut tenure: Option<Tenure> = None;
    let mut is_ready = false;
    loop {
        let now = leadership.borrow_and_update().clone();
        let (leads, has_leader) = match &now {
            Leadership::Leading { term } => (Some(*term), true),
            Leadership::Following { leader, .. } => (None, leader.is_some()),
        };
        if tenure.as_ref().map(Tenure::term) != leads {
            let closed = not_leader(&now);
            if leads.is_none() {
                stage.send_replace(Stage::Closed(closed.clone()));
            }
            if let Some(over) = tenure.take() {
                tracing::info!(term = over.term(), "this node does not lead any more");
                over.end(closed);
            }
            if let Some(term) = leads {
                let begun = Tenure::begin(&config, &log, readiness.clone(), term)?;
                stage.send_replace(Stage::Open {
                    log: log.clone(),
                    routes: begun.routes(),
                });
                tracing::info!(term, "this node leads");
                tenure = Some(begun);
            }
        } else if leads.is_none() {
            stage.send_replace(Stage::Closed(not_leader(&now)));
        }
        if has_leader {
            readiness.accept();
            is_ready = true;
        }
        let leaderless_at = Instant::now() + Duration::from_millis(LEADERLESS_MS_MAX);
        tokio::select! {
            changed = leadership.changed() => if changed.is_err() { break },
            _ = stopping.wait_for(|stopping| *stopping) => break,
            () = sleep_until(leaderless_at), if is_ready && !has_leader => {
                readiness.refuse("no leader is known: a majority of the nodes cannot be reached");
                is_ready = false;
            }
        }
    }
    stage.send_replace(Stage::Closed(shutting_down()));
    if let Some(tenure) = tenure {
        tenure.end(shutting_down());
    }
    Ok(())
}

fn not_leader(now: &Leadership) -> Failure {
    let failure = |message: String| Failure::new(Code::Unavailable, "NOT_LEADER", message);
    match now {
        Leadership::Following {
            leader: Some((id, Member { edge, .. })),
            ..
        } => failure(format!("this node does not lead; node {id} at {edge} does"))
            .with("leader", id)
            .with("leader_edge", edge),
        Leadership::Following { leader: None, .. } | Leadership::Leading { .. } => {
            failure("this node does not lead, and knows no leader".to_owned())
        }
    }
}
