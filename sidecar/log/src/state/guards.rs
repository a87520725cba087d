//! Idempotency guards.

use bytes::Bytes;
use outrigger_core::guard::{Input, Record};

use super::StateError;
use super::machine::{Context, Machine};
use super::overlay::Overlay;
use super::record;
use crate::codec::put_bytes;
use crate::command::{Outcome, Refusal};
use crate::derived::Table;

/// Scope and key of a guard together, in bytes.
const GUARD_KEY_BYTES_MAX: usize = 4_096;

/// Guards that changed since the last checkpoint, by [`guard_key`]; the others are on disk.
pub(crate) type Guards = Overlay<Vec<u8>, Record>;

/// One key out of scope and key; no two pairs share one.
fn guard_key(scope: &str, key: &[u8]) -> Vec<u8> {
    let mut whole = Vec::with_capacity(scope.len() + key.len() + 2);
    put_bytes(&mut whole, scope.as_bytes());
    whole.extend_from_slice(key);
    whole
}

impl Machine {
    pub(super) fn guard(
        &mut self,
        context: &Context,
        scope: &str,
        key: &[u8],
        input: Input,
    ) -> Result<Outcome, StateError> {
        let key = guard_key(scope, key);
        if key.len() > GUARD_KEY_BYTES_MAX {
            return Ok(Outcome::Refused(Refusal::GuardKeyTooLong {
                bytes: key.len(),
                limit: GUARD_KEY_BYTES_MAX,
            }));
        }
        let before = self.guard_record(&key, context.stamp_ms)?;
        let mut after = before.clone();
        let outcome = after.step(context.stamp_ms, input);
        if after != before {
            self.guards.insert(key, after);
        }
        Ok(Outcome::Guard(outcome))
    }

    /// The record of a key. One that has expired counts as never seen, whether it is still
    /// on disk or not.
    fn guard_record(&self, key: &[u8], stamp_ms: u64) -> Result<Record, StateError> {
        let alive = |record: &Record| stamp_ms < record.expires_at_ms();
        if let Some(record) = self.guards.get(key) {
            return Ok(Some(record)
                .filter(|record| alive(record))
                .cloned()
                .unwrap_or_default());
        }
        let Some(stored) = self.store.get(Table::Guard, key)? else {
            return Ok(Record::default());
        };
        let record = record::read_guard(&Bytes::copy_from_slice(&stored))?;
        Ok(Some(record).filter(alive).unwrap_or_default())
    }
}
