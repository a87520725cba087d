//! How nodes without a cluster find each other and form one.
//!
//! Nobody decides on a guess. A cluster is formed by the node with the lowest number of the
//! list, once, when every other node of the list has said that it waits as well. Whoever comes
//! later waits until an operator adds it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::future::join_all;
use outrigger_log::{
    DirectoryError,
    cluster::{Member, Start},
};
use outrigger_proto::cluster::NodeState;
use tokio::time::timeout;

use super::{
    Greeting, Links, Me, Presence,
    links::LinkError,
    marks::{Mark, Marks},
    presence::AdoptError,
};
use crate::{config::Peers, http::Readiness};

/// Data groups of a cluster for which nobody has chosen a number.
const DATA_GROUPS_COUNT_DEFAULT: u32 = 1;
/// How often the other nodes are asked.
const ASK_INTERVAL_MS: u64 = 200;

/// Why a node cannot become a member.
#[derive(Debug, thiserror::Error)]
pub enum FormationError {
    /// The others refuse it.
    #[error("{0}")]
    Refused(String),
    /// The data directory cannot be used.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// It could not be recorded.
    #[error("the cluster could not be recorded: {0}")]
    NotRecorded(String),
}

impl From<AdoptError> for FormationError {
    fn from(error: AdoptError) -> Self {
        match error {
            AdoptError::Directory(error) => Self::Directory(error),
            AdoptError::Refused(_) | AdoptError::Interrupted => {
                Self::NotRecorded(error.to_string())
            }
        }
    }
}

/// What was heard of one node.
type Heard = Result<Greeting, LinkError>;

/// What to do after the others were asked.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// Form a cluster of these nodes.
    Form(Vec<Me>),
    /// It is formed.
    Formed,
    /// Ask again later, because of this.
    Wait(String),
    /// It will never be.
    Never(String),
}

pub(crate) struct Formation {
    links: Links,
    peers: Peers,
    marks: Marks,
    readiness: Readiness,
}

impl Formation {
    pub(crate) fn new(links: Links, peers: Peers, marks: Marks, readiness: Readiness) -> Self {
        Self {
            links,
            peers,
            marks,
            readiness,
        }
    }

    fn presence(&self) -> &Arc<Presence> {
        self.links.presence()
    }

    /// Waits until this node belongs to a cluster, and tells how its log begins.
    pub(crate) async fn wait(&self) -> Result<Start, FormationError> {
        let mut standing = self.presence().watch();
        let mut told = String::new();
        loop {
            let is_forming = self.marks.is_set(Mark::Forming);
            if standing.borrow_and_update().cluster_id.is_some() && !is_forming {
                return Ok(Start::Wait);
            }
            let heard = self.ask().await;
            match plan(self.presence().me(), &self.peers, is_forming, &heard) {
                Step::Form(nodes) => {
                    if let Some(start) = self.form(nodes).await? {
                        return Ok(start);
                    }
                }
                Step::Formed => {
                    self.marks.clear(Mark::Forming)?;
                    return Ok(Start::Wait);
                }
                Step::Wait(why) => {
                    if why != told {
                        tracing::info!("{why}");
                        self.readiness.refuse(&why);
                        told = why;
                    }
                }
                Step::Never(why) => return Err(FormationError::Refused(why)),
            }
            // Being adopted ends the wait.
            let _ = timeout(Duration::from_millis(ASK_INTERVAL_MS), standing.changed()).await;
        }
    }

    /// Asks every node of the list, this one included: somebody else may answer there.
    async fn ask(&self) -> BTreeMap<u64, Heard> {
        let ask = |(id, address): (u64, String)| async move {
            (id, self.links.greet(&address, id, None).await)
        };
        let peers = self.peers.iter();
        let asked = peers.map(|(id, address)| ask((id, address.to_string())));
        join_all(asked).await.into_iter().collect()
    }

    /// Everything up to the beginning of the log can be repeated after a crash: the mark says
    /// that it has to be.
    async fn form(&self, nodes: Vec<Me>) -> Result<Option<Start>, FormationError> {
        let presence = self.presence();
        self.marks.set(Mark::Forming)?;
        let cluster_id = presence.cluster_id();
        let cluster_id = cluster_id.unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
        let groups = presence.groups().unwrap_or(DATA_GROUPS_COUNT_DEFAULT);
        presence.adopt(&cluster_id, groups).await?;
        let me = presence.me();
        for node in nodes.iter().filter(|node| node.id != me.id) {
            if let Err(error) = self.links.adopt(node, &cluster_id, groups).await {
                tracing::warn!(node = node.id, %error, "could not be made a member yet");
                return Ok(None);
            }
        }
        let ids: Vec<u64> = nodes.iter().map(|node| node.id).collect();
        tracing::info!(cluster = cluster_id, nodes = ?ids, groups, "a cluster is formed");
        let members: BTreeMap<u64, Member> = nodes
            .into_iter()
            .map(|node| (node.id, node.member()))
            .collect();
        Ok(Some(Start::Form(members)))
    }
}

/// Decides what to do; `is_forming` when this node has begun to form a cluster before it was
/// interrupted.
fn plan(me: &Me, peers: &Peers, is_forming: bool, heard: &BTreeMap<u64, Heard>) -> Step {
    for error in heard.values().filter_map(|heard| heard.as_ref().err()) {
        let never = ["DOUBLED_NODE_ID", "OTHER_INSTANCE", "OTHER_DATA_GROUPS"];
        if error.reason().is_some_and(|reason| never.contains(&reason)) {
            return Step::Never(error.to_string());
        }
    }
    let greetings = || heard.values().filter_map(|heard| heard.as_ref().ok());
    let member = greetings().find(|greeting| !greeting.members.is_empty());
    if let Some(greeting) = member {
        return match greeting.member(me.id) {
            Some(known) if known.instance == me.instance && is_forming => Step::Formed,
            _ => Step::Wait(to_be_added(me, greeting)),
        };
    }
    let (id, address) = (me.id, &me.address);
    if peers.get(id).is_none() {
        return Step::Wait(format!(
            "node {id} is not in its own list of peers: it waits to be added with: \
             outrigger cluster add {id}={address}"
        ));
    }
    if let Some(lowest) = peers.lowest().filter(|lowest| *lowest != id) {
        return Step::Wait(match heard.get(&lowest) {
            Some(Ok(_)) => format!("waiting for node {lowest} to form the cluster"),
            Some(Err(error)) => format!("waiting for node {lowest} to form the cluster: {error}"),
            None => format!("waiting for node {lowest} to form the cluster, which was not asked"),
        });
    }
    let mut nodes = Vec::new();
    for (peer, address) in peers.iter() {
        match heard.get(&peer) {
            Some(Ok(greeting)) if greeting.state != NodeState::Repairing => nodes.push(Me {
                address: address.to_string(),
                ..greeting.node.clone()
            }),
            Some(Ok(_)) => return Step::Wait(format!("node {peer} is being repaired")),
            Some(Err(error)) => {
                return Step::Wait(format!("waiting for node {peer}: {error}"));
            }
            None => return Step::Wait(format!("waiting for node {peer}")),
        }
    }
    let foreign = greetings().find(|greeting| greeting.cluster_id.is_some() && !is_forming);
    match foreign {
        Some(Greeting { node, .. }) => Step::Wait(format!(
            "node {} belongs to a cluster already whose leader has not been heard of",
            node.id
        )),
        None => Step::Form(nodes),
    }
}

fn to_be_added(me: &Me, greeting: &Greeting) -> String {
    let leader = greeting.leader.and_then(|leader| greeting.member(leader));
    let edge = leader.map_or(&greeting.node.edge, |leader| &leader.edge);
    let (id, address) = (me.id, &me.address);
    format!(
        "node {id} is not a member of the cluster: it waits to be added with: \
         outrigger cluster add {id}={address} --server http://{edge}"
    )
}

#[cfg(test)]
mod tests {
    use super::{super::Refused, *};

    fn me(id: u64) -> Me {
        Me {
            id,
            address: format!("127.0.0.1:{id}"),
            edge: format!("127.0.0.1:10{id}"),
            instance: u128::from(id) + 100,
        }
    }

    fn peers() -> Peers {
        "1=127.0.0.1:1,2=127.0.0.1:2,3=127.0.0.1:3".parse().unwrap()
    }

    fn waiting(id: u64) -> (u64, Heard) {
        let greeting = Greeting {
            node: me(id),
            cluster_id: None,
            state: NodeState::Waiting,
            members: Vec::new(),
            leader: None,
        };
        (id, Ok(greeting))
    }

    fn member(id: u64, members: Vec<Me>) -> (u64, Heard) {
        let greeting = Greeting {
            node: me(id),
            cluster_id: Some("shop".to_owned()),
            state: NodeState::Member,
            members,
            leader: Some(id),
        };
        (id, Ok(greeting))
    }

    fn silent(id: u64) -> (u64, Heard) {
        let error = LinkError::Unreachable {
            address: me(id).address,
            problem: "refused".to_owned(),
        };
        (id, Err(error))
    }

    fn step(id: u64, is_forming: bool, heard: [(u64, Heard); 3]) -> Step {
        plan(&me(id), &peers(), is_forming, &heard.into())
    }

    #[test]
    fn the_lowest_forms_when_all_wait_and_not_before() {
        let all = step(1, false, [waiting(1), waiting(2), waiting(3)]);
        assert_eq!(all, Step::Form(vec![me(1), me(2), me(3)]));
        let some = step(1, false, [waiting(1), waiting(2), silent(3)]);
        assert!(matches!(some, Step::Wait(why) if why.contains("node 3")));
        let higher = step(2, false, [waiting(1), waiting(2), waiting(3)]);
        assert!(matches!(higher, Step::Wait(why) if why.contains("node 1 to form")));
    }

    #[test]
    fn an_interrupted_formation_goes_on_or_is_found_to_be_over() {
        let adopted = member(2, Vec::new());
        let again = step(1, true, [waiting(1), adopted, waiting(3)]);
        assert_eq!(again, Step::Form(vec![me(1), me(2), me(3)]));
        let formed = member(2, vec![me(1), me(2), me(3)]);
        assert_eq!(
            step(1, true, [waiting(1), formed, waiting(3)]),
            Step::Formed
        );
    }

    #[test]
    fn nobody_forms_beside_a_cluster() {
        let adopted = member(2, Vec::new());
        let other = step(1, false, [waiting(1), adopted, waiting(3)]);
        assert!(matches!(other, Step::Wait(why) if why.contains("belongs to a cluster")));
        let formed = member(2, vec![me(2), me(3)]);
        let later = step(1, false, [waiting(1), formed, silent(3)]);
        let Step::Wait(why) = later else {
            panic!("{later:?}");
        };
        assert!(
            why.contains("cluster add 1=127.0.0.1:1 --server http://127.0.0.1:102"),
            "{why}"
        );
        let unlisted = plan(&me(4), &peers(), false, &BTreeMap::from([waiting(1)]));
        assert!(matches!(unlisted, Step::Wait(why) if why.contains("cluster add 4=")));
    }

    #[test]
    fn a_wiped_or_doubled_node_ends_with_advice() {
        let refused = Refused::OtherInstance {
            node: 1,
            edge: "127.0.0.1:102".to_owned(),
        };
        let heard = Err(LinkError::Refused(refused));
        let Step::Never(why) = step(1, false, [waiting(1), (2, heard), silent(3)]) else {
            panic!("it goes on");
        };
        assert!(
            why.contains("outrigger cluster replace 1 --with NEW="),
            "{why}"
        );
        let refused = Refused::DoubledId {
            node: 1,
            here: String::new(),
            there: String::new(),
        };
        let heard = Err(LinkError::Refused(refused));
        let doubled = step(1, false, [(1, heard), waiting(2), waiting(3)]);
        assert!(matches!(doubled, Step::Never(_)));
        let refused = Refused::OtherGroups {
            node: 2,
            theirs: 4,
            ours: 3,
        };
        let heard = Err(LinkError::Refused(refused));
        let Step::Never(why) = step(1, false, [waiting(1), (2, heard), waiting(3)]) else {
            panic!("it goes on");
        };
        assert!(why.contains("has 4 data groups and this one 3"), "{why}");
    }
}
