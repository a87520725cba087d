//! Who may talk to whom: what a node checks of another one before anything else.

use outrigger_proto::cluster::{HandshakeRequest, HandshakeResponse, Node, NodeState};

use super::{Me, Presence, Refused, protocol};

/// Another node, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Greeting {
    pub(crate) node: Me,
    /// Nothing as long as it belongs to none.
    pub(crate) cluster_id: Option<String>,
    pub(crate) state: NodeState,
    /// The members that it knows of.
    pub(crate) members: Vec<Me>,
    /// The leader that it knows of.
    pub(crate) leader: Option<u64>,
}

impl Greeting {
    /// The member with this number, as far as the node knows.
    pub(crate) fn member(&self, id: u64) -> Option<&Me> {
        self.members.iter().find(|member| member.id == id)
    }
}

/// Checks who calls.
pub(crate) fn check_caller(presence: &Presence, request: HandshakeRequest) -> Result<Me, Refused> {
    let me = presence.me();
    let from = Me::read(request.from)?;
    check_protocol(
        presence,
        from.id,
        request.protocol_min,
        request.protocol_max,
    )?;
    if from.id == me.id && from.instance != me.instance {
        return Err(doubled(me, &from));
    }
    let ours = presence.cluster_id();
    check_cluster(from.id, ours.as_deref(), &request.cluster_id)?;
    check_groups(presence, from.id, request.data_groups)?;
    if let Some(known) = presence.known_for_sure(from.id)
        && known.instance != from.instance
    {
        return Err(Refused::OtherInstance {
            node: from.id,
            edge: me.edge.clone(),
        });
    }
    Ok(from)
}

/// Checks who has answered; `instance` when it must be a certain one.
pub(crate) fn check_answer(
    presence: &Presence,
    address: &str,
    expected: u64,
    instance: Option<u128>,
    response: HandshakeResponse,
) -> Result<Greeting, Refused> {
    let me = presence.me();
    let state = response.state();
    let node = Me::read(response.node)?;
    if node.id != expected {
        return Err(Refused::WrongNode {
            address: address.to_owned(),
            found: node.id,
            expected,
        });
    }
    check_protocol(
        presence,
        node.id,
        response.protocol_min,
        response.protocol_max,
    )?;
    if node.id == me.id && node.instance != me.instance {
        return Err(doubled(me, &node));
    }
    let ours = presence.cluster_id();
    check_cluster(node.id, ours.as_deref(), &response.cluster_id)?;
    check_groups(presence, node.id, response.data_groups)?;
    if instance.is_some_and(|instance| instance != node.instance) {
        return Err(Refused::OtherInstance {
            node: node.id,
            edge: me.edge.clone(),
        });
    }
    let members = response.members.into_iter();
    Ok(Greeting {
        node,
        cluster_id: Some(response.cluster_id).filter(|id| !id.is_empty()),
        state,
        members: members
            .map(|member: Node| Me::read(Some(member)))
            .collect::<Result<_, _>>()?,
        leader: Some(response.leader).filter(|leader| *leader != 0),
    })
}

fn doubled(me: &Me, other: &Me) -> Refused {
    Refused::DoubledId {
        node: me.id,
        here: me.address.clone(),
        there: other.address.clone(),
    }
}

fn check_protocol(
    presence: &Presence,
    node: u64,
    theirs_min: u32,
    theirs_max: u32,
) -> Result<(), Refused> {
    let ours_min = presence.protocol_min();
    if theirs_min <= protocol::MAX && ours_min <= theirs_max {
        return Ok(());
    }
    Err(Refused::OtherProtocol {
        node,
        theirs_min,
        theirs_max,
        ours_min,
        ours_max: protocol::MAX,
    })
}

/// Nodes that leave the number to others fit everybody; they say 0.
fn check_groups(presence: &Presence, node: u64, theirs: u32) -> Result<(), Refused> {
    match presence.groups() {
        Some(ours) if theirs != 0 && theirs != ours => {
            Err(Refused::OtherGroups { node, theirs, ours })
        }
        Some(_) | None => Ok(()),
    }
}

/// A node without a cluster may talk to everybody.
fn check_cluster(node: u64, ours: Option<&str>, theirs: &str) -> Result<(), Refused> {
    match ours {
        Some(ours) if !theirs.is_empty() && ours != theirs => Err(Refused::OtherCluster {
            node,
            theirs: theirs.to_owned(),
            ours: ours.to_owned(),
        }),
        Some(_) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use outrigger_log::cluster::Identity;

    use super::*;

    fn me(id: u64, instance: u128) -> Me {
        Me {
            id,
            address: format!("127.0.0.1:{}", 7000 + instance),
            edge: format!("127.0.0.1:{}", 8000 + instance),
            instance,
        }
    }

    fn presence(id: u64, instance: u128, cluster: Option<&str>) -> std::sync::Arc<Presence> {
        presence_of(id, instance, cluster, None, None)
    }

    fn presence_of(
        id: u64,
        instance: u128,
        cluster: Option<&str>,
        groups: Option<u32>,
        wanted: Option<u32>,
    ) -> std::sync::Arc<Presence> {
        let identity = Identity {
            cluster_id: cluster.map(str::to_owned),
            node_id: id,
            instance,
            groups,
            repairing: false,
        };
        Presence::new(me(id, instance), "unused".into(), &identity, wanted)
    }

    #[test]
    fn nodes_of_one_cluster_and_waiting_ones_talk_to_each_other() {
        for (ours, theirs) in [
            (Some("shop"), Some("shop")),
            (Some("shop"), None),
            (None, Some("shop")),
            (None, None),
        ] {
            let (here, there) = (presence(1, 11, ours), presence(2, 12, theirs));
            assert_eq!(check_caller(&here, there.hello()), Ok(me(2, 12)));
            let greeting = check_answer(&here, "there", 2, Some(12), there.answer()).unwrap();
            assert_eq!(greeting.node, me(2, 12));
            assert_eq!(greeting.cluster_id.as_deref(), theirs);
        }
    }

    #[test]
    fn another_number_of_data_groups_is_refused_on_both_sides() {
        let here = presence_of(1, 11, Some("shop"), Some(3), None);
        let told = presence_of(2, 12, None, None, Some(4));
        for (one, other, node) in [(&here, &told, 2), (&told, &here, 1)] {
            let refused = check_caller(one, other.hello()).unwrap_err();
            assert_eq!(refused.reason(), "OTHER_DATA_GROUPS");
            let refused = check_answer(one, "there", node, None, other.answer()).unwrap_err();
            assert_eq!(refused.reason(), "OTHER_DATA_GROUPS");
            let message = refused.to_string();
            assert!(message.contains('3') && message.contains('4'), "{message}");
        }
        // Whoever leaves it to others fits, and so does whoever says the same.
        for wanted in [None, Some(3)] {
            let there = presence_of(2, 12, None, None, wanted);
            assert!(check_caller(&here, there.hello()).is_ok());
            assert!(check_answer(&here, "there", 2, None, there.answer()).is_ok());
        }
    }

    #[test]
    fn a_program_that_knows_of_one_data_group_is_kept_out_of_several() {
        let several = presence_of(1, 11, Some("shop"), Some(3), None);
        let single = presence_of(1, 11, Some("shop"), Some(1), None);
        let mut older = presence(2, 12, None).hello();
        older.protocol_max = 1;
        assert_eq!(single.hello().protocol_min, 1);
        assert_eq!(several.hello().protocol_min, 2);
        assert!(check_caller(&single, older.clone()).is_ok());
        let refused = check_caller(&several, older).unwrap_err();
        assert_eq!(refused.reason(), "PROTOCOL_MISMATCH");
    }

    #[test]
    fn whoever_does_not_fit_is_refused_on_both_sides() {
        let here = presence(1, 11, Some("shop"));
        let cases = [
            (presence(2, 12, Some("bank")), 2, "OTHER_CLUSTER"),
            (presence(1, 12, Some("shop")), 1, "DOUBLED_NODE_ID"),
        ];
        for (there, expected, reason) in cases {
            let refused = check_caller(&here, there.hello()).unwrap_err();
            assert_eq!(refused.reason(), reason);
            let refused = check_answer(&here, "there", expected, None, there.answer()).unwrap_err();
            assert_eq!(refused.reason(), reason);
        }
        let there = presence(2, 12, Some("shop"));
        let refused = check_answer(&here, "there", 3, None, there.answer()).unwrap_err();
        assert_eq!(refused.reason(), "WRONG_NODE");
        let refused = check_answer(&here, "there", 2, Some(13), there.answer()).unwrap_err();
        assert_eq!(refused.reason(), "OTHER_INSTANCE");
        let mut newer = there.hello();
        (newer.protocol_min, newer.protocol_max) = (protocol::MAX + 1, protocol::MAX + 2);
        let refused = check_caller(&here, newer).unwrap_err();
        assert_eq!(refused.reason(), "PROTOCOL_MISMATCH");
        let mut nameless = there.hello();
        nameless.from = None;
        assert_eq!(
            check_caller(&here, nameless).unwrap_err().reason(),
            "MALFORMED_PEER_CALL"
        );
    }
}
