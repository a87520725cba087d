//! How a node whose log was damaged becomes a voter again, and how one that was taken out
//! notices.

use std::time::Duration;

use futures::future::join_all;
use tokio::time::sleep;

use super::{
    Greeting, Links, find,
    links::LinkError,
    marks::{Mark, Marks},
};
use crate::{config::Peers, http::Readiness};

/// The pause between two attempts to be taken back.
const RETRY_MS: u64 = 500;
/// How long the leader may take: it sends the whole log on the way.
const READMIT_MS_MAX: u64 = 3_700_000;
/// How often a node asks the others whether it still belongs to them.
const LOOK_INTERVAL_MS: u64 = 3_000;

/// Asks the others what they know.
async fn ask(links: &Links, peers: &Peers) -> Vec<Result<Greeting, LinkError>> {
    let me = links.presence().me().id;
    let others = peers.iter().filter(|(id, _)| *id != me);
    let asked = others.map(|(id, address)| {
        let address = address.to_string();
        async move { links.greet(&address, id, None).await }
    });
    join_all(asked).await
}

/// Where the leader is, as far as the others know.
fn leader_of(greetings: &[Result<Greeting, LinkError>]) -> Option<String> {
    greetings.iter().flatten().find_map(|greeting| {
        let leader = greeting.member(greeting.leader?)?;
        Some(leader.address.clone())
    })
}

/// Asks the leader to take this node back until it has. Runs beside the waiting for the
/// adoption, and goes on beside the log that is open then.
pub(crate) async fn rejoin(links: Links, peers: Peers, marks: Marks, readiness: Readiness) {
    let me = links.presence().me().id;
    let mut told = String::new();
    while marks.is_set(Mark::Rejoining) {
        let problem = match leader_of(&ask(&links, &peers).await) {
            None => "none of its peers knows a leader".to_owned(),
            Some(leader) => match links.readmit(&leader, READMIT_MS_MAX).await {
                Ok(()) => {
                    if let Err(error) = marks.clear(Mark::Rejoining) {
                        tracing::error!(%error, "the end of the repair could not be recorded");
                    }
                    tracing::info!(node = me, "repaired, and a voter again");
                    return;
                }
                Err(error) => error.to_string(),
            },
        };
        let why =
            format!("node {me} asks its cluster to be taken back, with an empty log: {problem}");
        if why != told {
            tracing::warn!("{why}");
            if links.presence().logs().is_none() {
                readiness.refuse(&why);
            }
            told = why;
        }
        sleep(Duration::from_millis(RETRY_MS)).await;
    }
}

/// Says so when this node does not belong to its cluster any more, and when its peers know it
/// under another address.
pub(crate) async fn look_around(links: Links, peers: Peers, readiness: Readiness) {
    let presence = links.presence();
    let Some(logs) = presence.logs() else {
        return;
    };
    let me = presence.me();
    let mut told = String::new();
    loop {
        sleep(Duration::from_millis(LOOK_INTERVAL_MS)).await;
        if logs
            .iter()
            .any(|log| log.leadership().borrow().is_leading())
        {
            continue;
        }
        let problem = match find(&presence.members(), me.id) {
            Some(known) if known.address != me.address => Some(format!(
                "the other nodes know node {} as {}, and it is at {} now: start it there again, \
                 or replace it by a node with another number",
                me.id, known.address, me.address
            )),
            Some(_) | None => taken_out(&links, &peers).await,
        };
        let problem = problem.unwrap_or_default();
        if problem != told && !problem.is_empty() {
            tracing::warn!("{problem}");
            readiness.refuse(&problem);
        } else if problem.is_empty() && !told.is_empty() {
            readiness.accept();
        }
        told = problem;
    }
}

/// Whether this node is none of the members that the leader knows.
async fn taken_out(links: &Links, peers: &Peers) -> Option<String> {
    let id = links.presence().me().id;
    let greetings = ask(links, peers).await;
    let mut leaders = greetings.iter().flatten();
    let leader = leaders.find(|greeting| greeting.leader == Some(greeting.node.id))?;
    let is_out = leader.member(id).is_none() && !leader.members.is_empty();
    is_out.then(|| {
        format!(
            "node {id} was removed from the cluster: it neither leads nor votes, and can be \
             stopped. Its data directory cannot be used in this cluster again"
        )
    })
}
