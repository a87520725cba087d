use super::{Answer, Held, Ledger, OwnerId, Refusal};
use crate::limits::{SAGA_LEASE_MS_MAX, SAGA_TAKEN_COUNT_MAX};

impl Ledger {
    /// Costs as much as is taken over and told, however many sagas there are.
    pub(super) fn own(
        &mut self,
        now_ms: u64,
        owner: OwnerId,
        lease_ms: u64,
        take_max: u32,
        heard: u64,
    ) -> Result<Answer, Refusal> {
        if lease_ms == 0 {
            self.owners.give_back(owner);
            return Ok(Answer::Owned {
                until_ms: now_ms,
                taken: Vec::new(),
                acted_on: Vec::new(),
                more: false,
                told: heard,
            });
        }
        let tenure = self.owners.tenure(owner)?;
        let until_ms = now_ms.saturating_add(lease_ms.min(SAGA_LEASE_MS_MAX));
        let until_ms = self.owners.renew(tenure, until_ms);
        let unheard = self.owners.heard(tenure, heard);
        let room = (take_max as usize).min(SAGA_TAKEN_COUNT_MAX);
        for _ in unheard..room {
            let Some(id) = self.owners.next_orphan(now_ms) else {
                break;
            };
            self.take_over(now_ms, until_ms, &id, tenure)?;
        }
        let told = self.owners.tell(tenure);
        let held = |id: &std::sync::Arc<str>| Held {
            saga: id.to_string(),
            epoch: self.active.get(id).map_or(0, |active| active.kept.epoch),
        };
        Ok(Answer::Owned {
            until_ms,
            taken: told.taken.iter().map(held).collect(),
            acted_on: told.acted_on.iter().map(ToString::to_string).collect(),
            more: told.more || self.owners.has_orphans(now_ms),
            told: told.upto,
        })
    }

    fn take_over(
        &mut self,
        now_ms: u64,
        until_ms: u64,
        id: &std::sync::Arc<str>,
        tenure: u64,
    ) -> Result<(), Refusal> {
        let mut before = None;
        self.change(now_ms, id, None, |kept| {
            let epoch = kept.lease().taken_over(now_ms, until_ms)?.epoch;
            #[cfg(feature = "simulation")]
            let epoch = match crate::simulation::is_planted(crate::simulation::Plant::EpochTwice) {
                true => kept.epoch.max(1),
                false => epoch,
            };
            kept.epoch = epoch;
            before = kept.tenure.replace(tenure);
            kept.noticed = true;
            // The new owner begins with the record, which has all of it.
            kept.unseen.clear();
            Ok(())
        })?;
        self.owners.leave(id, before);
        self.owners.join(std::sync::Arc::clone(id), Some(tenure));
        Ok(())
    }
}
