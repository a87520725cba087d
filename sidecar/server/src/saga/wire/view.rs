use std::sync::Arc;

use bytes::Bytes;
use outrigger_core::saga::{
    Definition, Record,
    definition::Version,
    event::Event,
    ledger::{HistoryEntry, View},
};
use outrigger_proto::cluster::{RecordedSagaEvent, SagaView};

use super::{Malformed, from_owner, to_owner};

/// A saga as it goes over the wire.
pub(crate) fn to_view(view: &View) -> SagaView {
    let history = view.history.iter().map(|entry| RecordedSagaEvent {
        sequence: entry.sequence,
        at_ms: entry.at_ms,
        event: entry.event.encode(),
    });
    SagaView {
        record: view.record.encode(),
        epoch: view.epoch,
        owner: to_owner(view.owner),
        unseen: view.unseen.iter().map(Event::encode).collect(),
        history: history.collect(),
        ended_at_ms: view.ended_at_ms,
    }
}

/// The definition that is needed to read a saga.
///
/// # Errors
/// When the bytes are damaged or from a newer program.
pub(crate) fn definition_of(view: &SagaView) -> Result<(String, Version), Malformed> {
    let start = Record::peek(view.record.clone())?;
    Ok((start.definition, start.version))
}

/// A saga that another process tells of, with its definition.
///
/// # Errors
/// When the bytes are damaged or from a newer program.
pub(crate) fn from_view(view: SagaView, definition: Arc<Definition>) -> Result<View, Malformed> {
    let decode = |event: Bytes| Event::decode(event).map_err(Malformed::from);
    let history = view.history.into_iter().map(|entry| {
        Ok::<_, Malformed>(HistoryEntry {
            sequence: entry.sequence,
            at_ms: entry.at_ms,
            event: decode(entry.event)?,
        })
    });
    Ok(View {
        record: Record::decode(definition, view.record)?,
        epoch: view.epoch,
        owner: from_owner(&view.owner)?,
        unseen: view
            .unseen
            .into_iter()
            .map(decode)
            .collect::<Result<_, _>>()?,
        history: history.collect::<Result<_, _>>()?,
        ended_at_ms: view.ended_at_ms,
    })
}
