use outrigger_log::cluster::Member;
use outrigger_proto::cluster as proto;

use super::Refused;

/// A node, as it presents itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Me {
    pub(crate) id: u64,
    /// Where its peers reach it.
    pub(crate) address: String,
    /// Where applications reach it.
    pub(crate) edge: String,
    /// Made with its data directory.
    pub(crate) instance: u128,
}

impl Me {
    pub(crate) fn of(id: u64, member: &Member) -> Self {
        Self {
            id,
            address: member.address.clone(),
            edge: member.edge.clone(),
            instance: member.instance,
        }
    }

    pub(crate) fn read(node: Option<proto::Node>) -> Result<Self, Refused> {
        let node = node.ok_or(Refused::Malformed { field: "node" })?;
        if node.id == 0 {
            return Err(Refused::Malformed { field: "node.id" });
        }
        Ok(Self {
            id: node.id,
            address: node.address,
            edge: node.edge,
            instance: read_instance(&node.instance)?,
        })
    }

    pub(crate) fn member(&self) -> Member {
        Member {
            address: self.address.clone(),
            edge: self.edge.clone(),
            instance: self.instance,
        }
    }

    pub(crate) fn to_proto(&self) -> proto::Node {
        proto::Node {
            id: self.id,
            address: self.address.clone(),
            edge: self.edge.clone(),
            instance: write_instance(self.instance),
        }
    }
}

pub(crate) fn write_instance(instance: u128) -> bytes::Bytes {
    bytes::Bytes::copy_from_slice(&instance.to_be_bytes())
}

pub(crate) fn read_instance(bytes: &[u8]) -> Result<u128, Refused> {
    let field = "node.instance";
    let bytes = bytes.try_into().map_err(|_| Refused::Malformed { field })?;
    Ok(u128::from_be_bytes(bytes))
}
