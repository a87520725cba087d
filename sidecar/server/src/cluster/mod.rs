//! Several nodes that keep one log: how they find each other, what they accept from each
//! other, how the members change, and how a node is repaired.
//!
//! `presence` is what this node is at the moment. Others see it through `peers`, on the peer
//! port, and operators through `service`, on the port for applications. `links` are the
//! connections to others, `transport` the streams of frames that the log needs. `formation`
//! makes a cluster of waiting nodes, `changes` takes members in and out of a data group at its
//! leader, `everywhere` of all of them, and `rejoin` brings a repaired node back. `spread` lets
//! each node lead its share of the data groups.

mod changes;
mod complaints;
mod everywhere;
mod formation;
mod handshake;
mod links;
mod marks;
mod me;
mod node;
mod peers;
mod presence;
mod protocol;
mod refused;
mod rejoin;
mod service;
mod spread;
mod transport;

pub use formation::FormationError;
pub use node::Error;
pub(crate) use {
    changes::{ChangeError, Changes},
    complaints::Complaints,
    everywhere::Everywhere,
    handshake::Greeting,
    links::Links,
    me::Me,
    node::Node,
    presence::Presence,
    refused::Refused,
    service::ClusterService,
    spread::spread,
};

use outrigger_log::cluster::{Member, Members};

/// The member with a number, whether it votes or not.
pub(crate) fn find(members: &Members, id: u64) -> Option<&Member> {
    members
        .voters
        .get(&id)
        .or_else(|| members.learners.get(&id))
}
