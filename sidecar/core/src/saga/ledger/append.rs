use std::sync::Arc;

use super::{Answer, Kept, Ledger, Refusal};
use crate::saga::event::Event;

impl Ledger {
    pub(super) fn append(
        &mut self,
        now_ms: u64,
        id: &str,
        epoch: u64,
        after: u64,
        events: &[Event],
        ended: Option<Arc<Kept>>,
    ) -> Result<Answer, Refusal> {
        let kept = self.known(id, ended.as_ref())?;
        if !is_epoch_ignored() {
            kept.lease().may_append(epoch)?;
        }
        if events.is_empty() {
            return Err(Refusal::NoEvents);
        }
        let recorded = kept.record.sequence();
        if recorded != after {
            return Err(Refusal::Stale { after, recorded });
        }
        self.check_events(kept, events)?;
        // The first events go to the log together with the start. When the answer to both is lost
        // the owner does not know that it has the saga: it has to be told all the same.
        let unaware = kept.tenure.filter(|_| kept.noticed && after > 0);
        self.change(now_ms, id, ended, |kept| kept.append(now_ms, events))?;
        if let Some(tenure) = unaware {
            self.owners.heard_of(id, tenure);
        }
        let count = u64::try_from(events.len()).unwrap_or(u64::MAX);
        let sequence = recorded.saturating_add(count);
        Ok(Answer::Appended { sequence })
    }

    /// Repeated calls are the only events of an owner that never end.
    fn check_events(&self, kept: &Kept, events: &[Event]) -> Result<(), Refusal> {
        let limit = self.limits.events_max;
        let repeats = |event: &Event| matches!(event, Event::Started { after: Some(_), .. });
        if kept.record.sequence() < limit || !events.iter().any(repeats) {
            return Ok(());
        }
        Err(Refusal::TooManyEvents {
            saga: kept.id().into(),
            limit,
        })
    }
}

impl Kept {
    /// Takes all events of the owner, or none. It has seen all others.
    fn append(&mut self, now_ms: u64, events: &[Event]) -> Result<(), Refusal> {
        let first = self.record.sequence() == 0;
        match events {
            // An event that may not follow leaves the record as it was.
            [event] => self.record.apply(event)?,
            several => {
                let mut record = self.record.clone();
                for event in several {
                    record.apply(event)?;
                }
                self.record = record;
            }
        }
        for event in events {
            self.history.push(now_ms, event);
        }
        self.unseen.clear();
        self.noticed &= first;
        Ok(())
    }
}

/// False, but where a simulation makes this mistake to see whether it is noticed.
fn is_epoch_ignored() -> bool {
    #[cfg(feature = "simulation")]
    return crate::simulation::is_planted(crate::simulation::Plant::EpochIgnored);
    #[cfg(not(feature = "simulation"))]
    false
}
