//! The binary form of a membership, in log entries and in derived state.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Buf, BufMut, Bytes};

use super::types::{Membership, NodeId};
use crate::cluster::Member;

/// Format version, the first byte.
const VERSION: u8 = 2;
/// Nodes had an address only.
const VERSION_1: u8 = 1;

/// A membership that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MembershipError {
    #[error("the membership's format version is {0}, known are {VERSION_1} to {VERSION}")]
    Version(u8),
    #[error("the membership ends inside a field")]
    Truncated,
    #[error("a node's address is not UTF-8")]
    Address,
    #[error("a voter is missing from the nodes")]
    Inconsistent,
}

/// Version, the voter sets, then every node with its addresses and its instance.
pub(crate) fn encode(membership: &Membership) -> Bytes {
    let mut out = Vec::new();
    out.put_u8(VERSION);
    let configs = membership.get_joint_config();
    out.put_u32_le(configs.len() as u32);
    for config in configs {
        out.put_u32_le(config.len() as u32);
        config.iter().for_each(|id| out.put_u64_le(*id));
    }
    let nodes: Vec<_> = membership.nodes().collect();
    out.put_u32_le(nodes.len() as u32);
    for (id, node) in nodes {
        out.put_u64_le(*id);
        for text in [&node.address, &node.edge] {
            out.put_u32_le(text.len() as u32);
            out.put_slice(text.as_bytes());
        }
        out.put_u128_le(node.instance);
    }
    out.into()
}

/// The reverse of [`encode`].
pub(crate) fn decode(mut body: &[u8]) -> Result<Membership, MembershipError> {
    let version = body.try_get_u8().map_err(truncated)?;
    if ![VERSION_1, VERSION].contains(&version) {
        return Err(MembershipError::Version(version));
    }
    let mut configs = Vec::new();
    for _ in 0..body.try_get_u32_le().map_err(truncated)? {
        let mut voters = BTreeSet::new();
        for _ in 0..body.try_get_u32_le().map_err(truncated)? {
            voters.insert(body.try_get_u64_le().map_err(truncated)?);
        }
        configs.push(voters);
    }
    let mut nodes = BTreeMap::<NodeId, Member>::new();
    for _ in 0..body.try_get_u32_le().map_err(truncated)? {
        let id = body.try_get_u64_le().map_err(truncated)?;
        let mut member = Member {
            address: text(&mut body)?,
            ..Member::default()
        };
        if version > VERSION_1 {
            member.edge = text(&mut body)?;
            member.instance = body.try_get_u128_le().map_err(truncated)?;
        }
        nodes.insert(id, member);
    }
    if configs.is_empty() && nodes.is_empty() {
        return Ok(Membership::default());
    }
    Membership::new(configs, nodes).map_err(|_| MembershipError::Inconsistent)
}

fn text(body: &mut &[u8]) -> Result<String, MembershipError> {
    let length = body.try_get_u32_le().map_err(truncated)? as usize;
    let (text, rest) = body
        .split_at_checked(length)
        .ok_or(MembershipError::Truncated)?;
    *body = rest;
    let text = std::str::from_utf8(text).map_err(|_| MembershipError::Address)?;
    Ok(text.to_owned())
}

fn truncated(_: bytes::TryGetError) -> MembershipError {
    MembershipError::Truncated
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_encoded_is_decoded() {
        let member = |n: u64| Member {
            address: format!("10.0.0.{n}:7071"),
            edge: format!("10.0.0.{n}:7070"),
            instance: u128::MAX / u128::from(n),
        };
        let joint = vec![BTreeSet::from([1, 2, 3]), BTreeSet::from([3])];
        let nodes: BTreeMap<_, _> = (1..=4).map(|n| (n, member(n))).collect();
        let membership = Membership::new(joint, nodes).unwrap();
        let body = encode(&membership);
        assert_eq!(decode(&body), Ok(membership));
        for cut in 0..body.len() {
            assert!(decode(&body[..cut]).is_err(), "cut at {cut}");
        }
        assert_eq!(
            decode(&encode(&Membership::default())),
            Ok(Membership::default())
        );
    }

    #[test]
    fn the_first_version_is_read() {
        let mut body = vec![1, 1, 0, 0, 0, 1, 0, 0, 0];
        body.extend(7_u64.to_le_bytes());
        body.extend(1_u32.to_le_bytes());
        body.extend(7_u64.to_le_bytes());
        body.extend(9_u32.to_le_bytes());
        body.extend(b"localhost");
        let membership = decode(&body).unwrap();
        assert_eq!(membership.voter_ids().collect::<Vec<_>>(), [7]);
        let member = membership.get_node(&7).unwrap();
        assert_eq!((member.address.as_str(), member.instance), ("localhost", 0));
    }
}
