//! From leases to what goes over the wire.

use outrigger_core::lease::Receipt;
use outrigger_proto::stored;

use super::{
    Options, Store,
    member::{Batch, Leased},
    service::not_leading,
    worker::Call,
};
use crate::{clock, edge::status::Failure};

/// Reads the next frame of a batch and takes its messages out: as many as fit, at least
/// one. `unsent` counts the messages that were taken out and are not for this consumer.
pub(super) async fn next_frame(
    store: &dyn Store,
    options: &Options,
    batch: &mut Batch,
    unsent: &mut u32,
) -> Result<Vec<stored::Delivery>, Failure> {
    let mut bytes = 0;
    let fits = |message: &&Leased| {
        bytes += message.entry.length as usize;
        bytes <= options.frame_bytes_max
    };
    let count = batch
        .messages
        .iter()
        .take(options.frame_count_max)
        .take_while(fits)
        .count();
    let rest = batch
        .messages
        .split_off(count.max(1).min(batch.messages.len()));
    let messages = std::mem::replace(&mut batch.messages, rest);

    // A lease that ran out while it waited here may be somebody else's by now.
    let now_ms = clock::now_ms();
    let (live, late): (Vec<Leased>, Vec<Leased>) = messages
        .into_iter()
        .partition(|message| message.lease.deadline_ms > now_ms);
    *unsent += u32::try_from(late.len()).unwrap_or(u32::MAX);

    let stored = store
        .read(live.iter().map(|message| message.entry).collect())
        .await?;
    let mut filtered_out: Vec<Receipt> = Vec::new();
    let mut deliveries = Vec::with_capacity(live.len());
    for (message, stored) in live.into_iter().zip(stored) {
        let receipt = message.lease.receipt;
        if !batch.filter.matches(&stored) {
            filtered_out.push(receipt);
            continue;
        }
        deliveries.push(stored::Delivery {
            message: stored,
            queue: receipt.place.queue,
            offset: receipt.offset,
            attempt: receipt.attempt,
            receipt: receipt.encode(),
            stored_at_ms: message.entry.time_ms,
            lease_deadline_ms: message.lease.deadline_ms,
        });
    }
    // Nothing leaves a node that may have been replaced while all this was read.
    if !store.has_lease() && !store.confirm().await {
        return Err(not_leading());
    }
    if !filtered_out.is_empty() {
        *unsent += u32::try_from(filtered_out.len()).unwrap_or(u32::MAX);
        // Without its worker the leases run out, and the messages come again.
        let _ = batch
            .worker
            .calls
            .send(Call::FilteredOut(filtered_out))
            .await;
    }
    Ok(deliveries)
}
