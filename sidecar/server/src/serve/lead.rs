use std::sync::Arc;

use outrigger_log::{
    Log,
    cluster::{Leadership, Member},
};
use tokio::sync::watch;
use tonic::{Code, service::Routes};

use super::{Error, gate::Stage, tenure::Tenure};
use crate::{
    config::Config,
    delivery::shutting_down,
    edge::status::Failure,
    forward::{Target, Ways},
    http::Readiness,
};

/// Where calls of applications to one data group go.
pub(super) struct Doors {
    /// Into this process.
    pub(super) stage: watch::Sender<Stage>,
    /// To this process or another one.
    pub(super) target: watch::Sender<Target>,
    /// Whether there is a leader anywhere.
    pub(super) is_led: watch::Sender<bool>,
}

impl Doors {
    /// This process leads.
    fn open(&self, log: &Log, routes: Routes) {
        let log = log.clone();
        self.stage.send_replace(Stage::Open { log, routes });
        self.target.send_replace(Target::Here);
    }

    /// Another one leads, or nobody.
    fn close(&self, why: Failure, target: Target) {
        self.target.send_if_modified(|known| {
            let changed = *known != target;
            *known = target;
            changed
        });
        self.stage.send_replace(Stage::Closed(why));
    }
}

/// What the tenures of all data groups have in common.
#[derive(Clone)]
pub(crate) struct Common {
    pub(crate) config: Arc<Config>,
    pub(crate) ways: Ways,
    pub(crate) readiness: Readiness,
}

/// Opens and closes the gate of a data group as this node gains and loses its lead, until it is
/// told to stop.
pub(super) async fn follow(
    common: Common,
    log: Log,
    doors: Doors,
    mut stopping: watch::Receiver<bool>,
) -> Result<(), Error> {
    let group = log.data_group();
    let mut leadership = log.leadership();
    let mut tenure: Option<Tenure> = None;
    loop {
        let now = leadership.borrow_and_update().clone();
        let (leads, has_leader) = match &now {
            Leadership::Leading { term } => (Some(*term), true),
            Leadership::Following { leader, .. } => (None, leader.is_some()),
        };
        if tenure.as_ref().map(Tenure::term) != leads {
            let closed = not_leader(&now);
            if leads.is_none() {
                doors.close(closed.clone(), Target::from(&now));
            }
            if let Some(over) = tenure.take() {
                tracing::info!(
                    group,
                    term = over.term(),
                    "this node does not lead any more"
                );
                over.end(closed);
            }
            if let Some(term) = leads {
                let begun = Tenure::begin(&common, &log, term)?;
                doors.open(&log, begun.routes());
                tracing::info!(group, term, "this node leads");
                tenure = Some(begun);
            }
        } else if leads.is_none() {
            doors.close(not_leader(&now), Target::from(&now));
        }
        doors.is_led.send_if_modified(|is_led| {
            let changed = *is_led != has_leader;
            *is_led = has_leader;
            changed
        });
        tokio::select! {
            changed = leadership.changed() => if changed.is_err() { break },
            _ = stopping.wait_for(|stopping| *stopping) => break,
        }
    }
    let target = Target::from(&*leadership.borrow());
    let target = Some(target).filter(|target| *target != Target::Here);
    doors.close(shutting_down(), target.unwrap_or_default());
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
