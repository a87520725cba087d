//! What a checkpoint reflects: the last entry, and the counters that go on from there.

use super::Limits;
use crate::codec::{CodecError, Reader, put_bytes, put_number, put_u64, put_u128};
use crate::command::TransactionId;
use crate::derived::{DerivedError, Table};
use crate::raft::{LogId, StoredMembership, decode_membership, encode_membership};

/// The record of the table [`Table::Meta`]; it is written with every checkpoint.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Meta {
    pub(super) applied: Option<LogId>,
    pub(super) membership: StoredMembership,
    pub(super) stamp_ms: u64,
    /// Entries up to this index are not needed any more.
    pub(super) floor: u64,
    pub(super) next_transaction_sequence: u64,
    pub(super) next_delayed_sequence: u64,
    pub(super) newest_transaction: Option<TransactionId>,
    pub(super) limits: Limits,
}

impl Meta {
    pub(super) fn write(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_log_id(&mut out, self.applied.as_ref());
        put_log_id(&mut out, self.membership.log_id().as_ref());
        put_bytes(&mut out, &encode_membership(self.membership.membership()));
        put_u64(&mut out, self.stamp_ms);
        put_u64(&mut out, self.floor);
        put_u64(&mut out, self.next_transaction_sequence);
        put_u64(&mut out, self.next_delayed_sequence);
        match self.newest_transaction {
            None => out.push(0),
            Some(newest) => {
                out.push(1);
                put_u128(&mut out, newest.0);
            }
        }
        self.limits.write(&mut out);
        out
    }

    pub(super) fn read(bytes: &[u8]) -> Result<Self, DerivedError> {
        Self::parse(bytes).map_err(|source| DerivedError::Record {
            table: Table::Meta.name(),
            source,
        })
    }

    fn parse(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::new(bytes);
        let applied = log_id(&mut reader)?;
        let set_by = log_id(&mut reader)?;
        let membership = decode_membership(reader.bytes("membership")?);
        let membership = membership.map_err(|_| CodecError::Part {
            field: "membership",
        })?;
        let meta = Self {
            applied,
            membership: StoredMembership::new(set_by, membership),
            stamp_ms: reader.u64()?,
            floor: reader.u64()?,
            next_transaction_sequence: reader.u64()?,
            next_delayed_sequence: reader.u64()?,
            newest_transaction: match reader.u8()? {
                0 => None,
                _ => Some(TransactionId(reader.u128()?)),
            },
            limits: limits(&mut reader)?,
        };
        reader.finish()?;
        Ok(meta)
    }
}

/// A floor checkpoint of an older program has fewer of them, or none.
fn limits(reader: &mut Reader<'_>) -> Result<Limits, CodecError> {
    if reader.left() == 0 {
        return Ok(Limits::default());
    }
    for read_older in [Limits::read_first, Limits::read_second] {
        let mut older = reader.clone();
        let limits = read_older(&mut older)?;
        if older.left() == 0 {
            *reader = older;
            return Ok(limits);
        }
    }
    Limits::read(reader)
}

fn put_log_id(out: &mut Vec<u8>, log_id: Option<&LogId>) {
    match log_id {
        None => out.push(0),
        Some(log_id) => {
            out.push(1);
            put_number(out, log_id.leader_id.term);
            put_number(out, log_id.index);
        }
    }
}

fn log_id(reader: &mut Reader<'_>) -> Result<Option<LogId>, CodecError> {
    match reader.u8()? {
        0 => Ok(None),
        _ => {
            let term = reader.number("term")?;
            let index = reader.number("index")?;
            Ok(Some(LogId::new(term.into(), index)))
        }
    }
}
