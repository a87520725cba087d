//! How much the state machine holds. The limits decide what is refused and what is forgotten, so
//! they are a part of the state: they change at one entry of the log, on every replica and also
//! when the log is applied again.

use outrigger_core::saga::ledger;

use crate::codec::{CodecError, Reader, put_number};

/// Bounds of the replicated state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Transactions that wait for their verdict.
    pub unresolved_transactions_max: u64,
    /// How long the verdict of a resolved transaction can still be asked for.
    pub resolved_retention_ms: u64,
    /// Messages that wait until they are due, those of unresolved transactions included.
    pub delayed_messages_max: u64,
    /// Producers whose sequence numbers are remembered.
    pub producers_max: u64,
    /// A producer that sent nothing for so long is forgotten.
    pub producer_idle_ms: u64,
    /// Topics, dead-letter topics included.
    pub topics_max: u32,
    /// Consumer groups.
    pub consumer_groups_max: u32,
    /// Messages that wait until they are forwarded to other data groups, those of unresolved
    /// transactions included.
    pub outgoing_messages_max: u64,
    /// Sagas and their definitions.
    pub sagas: ledger::Limits,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            unresolved_transactions_max: 1_000_000,
            // A day longer than fence rows are kept by default.
            resolved_retention_ms: 8 * 24 * 60 * 60 * 1_000,
            delayed_messages_max: 1_000_000,
            producers_max: 100_000,
            producer_idle_ms: 7 * 24 * 60 * 60 * 1_000,
            topics_max: 100_000,
            consumer_groups_max: 10_000,
            outgoing_messages_max: 1_000_000,
            sagas: ledger::Limits::default(),
        }
    }
}

impl Limits {
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        put_number(out, self.unresolved_transactions_max);
        put_number(out, self.resolved_retention_ms);
        put_number(out, self.delayed_messages_max);
        put_number(out, self.producers_max);
        put_number(out, self.producer_idle_ms);
        put_number(out, u64::from(self.topics_max));
        put_number(out, u64::from(self.consumer_groups_max));
        put_number(out, self.outgoing_messages_max);
        put_number(out, self.sagas.sagas_max);
        put_number(out, self.sagas.definitions_max);
        put_number(out, self.sagas.events_max);
        put_number(out, u64::from(self.sagas.unseen_acts_max));
        put_number(out, self.sagas.retention_ms);
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, CodecError> {
        let second = Self::read_second(reader)?;
        let sagas = ledger::Limits {
            sagas_max: reader.number("sagas_max")?,
            definitions_max: reader.number("saga_definitions_max")?,
            events_max: reader.number("saga_events_max")?,
            unseen_acts_max: reader.number_u32("saga_unseen_acts_max")?,
            retention_ms: reader.number("saga_retention_ms")?,
        };
        Ok(Self { sagas, ..second })
    }

    /// As they were written before there were sagas.
    pub(crate) fn read_second(reader: &mut Reader<'_>) -> Result<Self, CodecError> {
        let first = Self::read_first(reader)?;
        Ok(Self {
            outgoing_messages_max: reader.number("outgoing_messages_max")?,
            ..first
        })
    }

    /// As they were written before there were several data groups.
    pub(crate) fn read_first(reader: &mut Reader<'_>) -> Result<Self, CodecError> {
        Ok(Self {
            unresolved_transactions_max: reader.number("unresolved_transactions_max")?,
            resolved_retention_ms: reader.number("resolved_retention_ms")?,
            delayed_messages_max: reader.number("delayed_messages_max")?,
            producers_max: reader.number("producers_max")?,
            producer_idle_ms: reader.number("producer_idle_ms")?,
            topics_max: reader.number_u32("topics_max")?,
            consumer_groups_max: reader.number_u32("consumer_groups_max")?,
            ..Self::default()
        })
    }
}
