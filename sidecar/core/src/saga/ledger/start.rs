use std::sync::Arc;

use super::{Answer, Kept, Ledger, OwnerId, Refusal};
use crate::saga::{
    Phase, Record, check_id, child_id,
    definition::Target,
    event::{Parent, Start},
    record::StepState,
};

impl Ledger {
    pub(super) fn start(
        &mut self,
        now_ms: u64,
        mut start: Start,
        owner: Option<OwnerId>,
        ended: Option<&Arc<Kept>>,
    ) -> Result<Answer, Refusal> {
        if let Ok(kept) = self.known(&start.saga, ended) {
            let (epoch, created) = (self.epoch_of(kept, owner), false);
            return match is_same(kept.record.started(), &start) {
                true => Ok(Answer::Started { epoch, created }),
                false => Err(Refusal::Conflict { saga: start.saga }),
            };
        }
        let definition = self.definitions.get(&start.definition, start.version);
        let definition = definition.cloned();
        let definition = definition.ok_or_else(|| Refusal::UnknownDefinition {
            name: start.definition.clone(),
            version: start.version,
        })?;
        match &start.parent {
            Some(parent) => self.check_wanted(&start, parent)?,
            None => {
                check_id("saga", &start.saga)?;
                let limit = self.limits.sagas_max;
                if self.not_ended >= limit {
                    return Err(Refusal::TooManySagas { limit });
                }
            }
        }
        if start.start_at_ms == 0 {
            start.start_at_ms = now_ms;
        }
        if let (None, Some(deadline_ms)) = (start.deadline_at_ms, definition.deadline_ms()) {
            start.deadline_at_ms = Some(start.start_at_ms.saturating_add(deadline_ms));
        }
        let mut kept = Kept::new(Record::start(definition, start)?);
        let alive = owner.and_then(|owner| self.owners.alive(owner, now_ms));
        if let Some((tenure, until_ms)) = alive {
            kept.epoch = kept.lease().taken_over(now_ms, until_ms)?.epoch;
            kept.tenure = Some(tenure);
            kept.noticed = true;
        }
        let (epoch, created) = (kept.epoch, true);
        self.enter(kept);
        Ok(Answer::Started { epoch, created })
    }

    /// A saga is a step of another one only while that calls the step's action. When the
    /// action is undone, or the other one has ended, nobody would undo what comes too late.
    fn check_wanted(&self, start: &Start, parent: &Parent) -> Result<(), Refusal> {
        let wanted = || {
            let above = &self.active.get(parent.saga.as_str())?.kept.record;
            let step = above.definition().index_of(&parent.step)?;
            let called = above.step(step)?.state() == StepState::Calling(Phase::Action);
            let target = &above.definition().action(step, Phase::Action)?.target;
            let fits = match target {
                Target::Saga {
                    definition,
                    version,
                } => *definition == start.definition && *version == start.version,
                Target::Http { .. } | Target::Grpc { .. } | Target::Message { .. } => false,
            };
            let named = start.saga == child_id(&parent.saga, &parent.step);
            (called && fits && named).then_some(())
        };
        wanted().ok_or_else(|| Refusal::NotWanted {
            saga: start.saga.clone(),
            parent: parent.saga.clone(),
            step: parent.step.clone(),
        })
    }

    /// The epoch with which an owner owns a saga; 0 when it does not.
    fn epoch_of(&self, kept: &Kept, owner: Option<OwnerId>) -> u64 {
        let recorded = kept.tenure.and_then(|tenure| self.owners.owner(tenure));
        match recorded.is_some() && recorded == owner {
            true => kept.epoch,
            false => 0,
        }
    }
}

/// Whether a start is that of a saga that there is. What it leaves open fits anything.
fn is_same(started: &Start, start: &Start) -> bool {
    let Start {
        saga,
        definition,
        version,
        input,
        start_at_ms,
        deadline_at_ms,
        parent,
    } = start;
    let at = *start_at_ms == 0 || *start_at_ms == started.start_at_ms;
    let until = deadline_at_ms.is_none() || *deadline_at_ms == started.deadline_at_ms;
    let content = (saga, definition, version, input, parent);
    let known = (
        &started.saga,
        &started.definition,
        &started.version,
        &started.input,
        &started.parent,
    );
    at && until && content == known
}
