//! The binary form of a membership, in log entries and in derived state.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Buf, BufMut, Bytes};
use openraft::BasicNode;

use super::types::{Membership, NodeId};

/// Format version, the first byte.
const VERSION: u8 = 1;

/// A membership that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MembershipError {
    #[error("the membership's format version is {0}, known is {VERSION}")]
    Version(u8),
    #[error("the membership ends inside a field")]
    Truncated,
    #[error("a node's address is not UTF-8")]
    Address,
    #[error("a voter is missing from the nodes")]
    Inconsistent,
}

/// Version, the voter sets, then every node with its address.
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
        out.put_u32_le(node.addr.len() as u32);
        out.put_slice(node.addr.as_bytes());
    }
    out.into()
}

/// The reverse of [`encode`].
pub(crate) fn decode(mut body: &[u8]) -> Result<Membership, MembershipError> {
    let version = body.try_get_u8().map_err(truncated)?;
    if version != VERSION {
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
    let mut nodes = BTreeMap::<NodeId, BasicNode>::new();
    for _ in 0..body.try_get_u32_le().map_err(truncated)? {
        let id = body.try_get_u64_le().map_err(truncated)?;
        let length = body.try_get_u32_le().map_err(truncated)? as usize;
        let (address, rest) = body
            .split_at_checked(length)
            .ok_or(MembershipError::Truncated)?;
        body = rest;
        let addr = std::str::from_utf8(address).map_err(|_| MembershipError::Address)?;
        nodes.insert(id, BasicNode::new(addr));
    }
    if configs.is_empty() && nodes.is_empty() {
        return Ok(Membership::default());
    }
    Membership::new(configs, nodes).map_err(|_| MembershipError::Inconsistent)
}

fn truncated(_: bytes::TryGetError) -> MembershipError {
    MembershipError::Truncated
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_encoded_is_decoded() {
        let node = |n: u64| (n, BasicNode::new(format!("10.0.0.{n}:7071")));
        let joint = vec![BTreeSet::from([1, 2, 3]), BTreeSet::from([3])];
        let nodes: BTreeMap<_, _> = (1..=4).map(node).collect();
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
}
