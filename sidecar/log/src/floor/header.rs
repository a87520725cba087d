use crate::codec::{CodecError, Reader, put_bytes, put_number};
use crate::raft::{LogId, StoredMembership, decode_membership, encode_membership};

/// What a floor checkpoint is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FloorHeader {
    /// The last entry that it contains.
    pub(crate) applied: LogId,
    /// The members at that entry.
    pub(crate) membership: StoredMembership,
}

impl FloorHeader {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_log_id(&mut out, &self.applied);
        match self.membership.log_id() {
            None => out.push(0),
            Some(set_by) => {
                out.push(1);
                put_log_id(&mut out, set_by);
            }
        }
        put_bytes(&mut out, &encode_membership(self.membership.membership()));
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::new(bytes);
        let applied = log_id(&mut reader)?;
        let set_by = match reader.u8()? {
            0 => None,
            _ => Some(log_id(&mut reader)?),
        };
        let membership = decode_membership(reader.bytes("membership")?);
        let membership = membership.map_err(|_| CodecError::Part {
            field: "membership",
        })?;
        reader.finish()?;
        Ok(Self {
            applied,
            membership: StoredMembership::new(set_by, membership),
        })
    }
}

fn put_log_id(out: &mut Vec<u8>, log_id: &LogId) {
    put_number(out, log_id.leader_id.term);
    put_number(out, log_id.index);
}

fn log_id(reader: &mut Reader<'_>) -> Result<LogId, CodecError> {
    let term = reader.number("term")?;
    let index = reader.number("index")?;
    Ok(LogId::new(term.into(), index))
}
