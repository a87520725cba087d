use std::sync::Arc;

use super::{Answer, Kept, Ledger, Refusal};
use crate::{
    limits::{SAGA_LAST_ACTS_COUNT_MAX, SAGA_PAYLOADS_BYTES_MAX},
    saga::{
        Phase,
        event::{Act, Event, Note},
        record::StepState,
    },
};

impl Ledger {
    pub(super) fn act(
        &mut self,
        now_ms: u64,
        id: &str,
        act: Act,
        note: Note,
        ended: Option<Arc<Kept>>,
    ) -> Result<Answer, Refusal> {
        let kept = match self.known(id, ended.as_ref()) {
            Ok(kept) => kept,
            Err(_) if act == Act::Undo && self.is_undone_unstarted(id, &note) => {
                return Ok(Answer::Acted {
                    sequence: 0,
                    owner: None,
                });
            }
            Err(unknown) => return Err(unknown),
        };
        let again_and_again = match act {
            Act::Retry { .. } | Act::EditInput { .. } | Act::Park | Act::Resume => true,
            Act::Skip { .. } | Act::Undo => false,
        };
        let limit = self.limits.events_max;
        let limit = limit.saturating_add(SAGA_LAST_ACTS_COUNT_MAX);
        if again_and_again && kept.record.sequence() >= limit {
            let saga = id.into();
            return Err(Refusal::TooManyEvents { saga, limit });
        }
        self.tell(now_ms, id, Event::ByHand { act, note }, ended)
    }

    /// Records an event that is not the owner's.
    pub(super) fn tell(
        &mut self,
        now_ms: u64,
        id: &str,
        event: Event,
        ended: Option<Arc<Kept>>,
    ) -> Result<Answer, Refusal> {
        let limit = self.limits.unseen_acts_max as usize;
        self.change(now_ms, id, ended, |kept| kept.tell(now_ms, event, limit))?;
        let Some((id, active)) = self.active.get_key_value(id) else {
            // It cannot have ended by this, but if it had nobody would have to hear of it.
            return Err(Refusal::UnknownSaga { saga: id.into() });
        };
        let sequence = active.kept.record.sequence();
        let tenure = active.kept.tenure;
        let owner = tenure.and_then(|tenure| self.owners.owner(tenure));
        if let Some(tenure) = tenure {
            self.owners.acted_on(id, tenure);
        }
        Ok(Answer::Acted { sequence, owner })
    }

    /// There is no such saga, and never will be: it would be a step of one that undoes the
    /// step, and wants this one undone.
    fn is_undone_unstarted(&self, id: &str, note: &Note) -> bool {
        let found = || {
            let (parent, step) = id.rsplit_once('/')?;
            let above = &self.active.get(parent)?.kept.record;
            let step = above.definition().index_of(step)?;
            let undoes = above.step(step)?.state() == StepState::Calling(Phase::Undo);
            Some(undoes && note.by == Note::by_saga(parent))
        };
        found().unwrap_or(false)
    }
}

impl Kept {
    fn tell(&mut self, now_ms: u64, event: Event, limit: usize) -> Result<(), Refusal> {
        // Nobody has to see what happens before there is an owner.
        let unseen = self.epoch > 0;
        if unseen {
            self.check_unseen(&event, limit)?;
        }
        self.record.apply(&event)?;
        self.history.push(now_ms, &event);
        self.noticed = self.tenure.is_some();
        if unseen {
            self.unseen.push(event);
        }
        Ok(())
    }

    fn check_unseen(&self, event: &Event, limit: usize) -> Result<(), Refusal> {
        if self.unseen.len() >= limit {
            return Err(Refusal::TooManyActs {
                saga: self.id().into(),
                limit,
            });
        }
        let bytes: usize = self.unseen.iter().map(payload_bytes).sum();
        let limit = SAGA_PAYLOADS_BYTES_MAX;
        match bytes.saturating_add(payload_bytes(event)) > limit {
            true => Err(Refusal::ActsTooLarge {
                saga: self.id().into(),
                limit,
            }),
            false => Ok(()),
        }
    }
}

fn payload_bytes(event: &Event) -> usize {
    match event {
        Event::Succeeded { output, .. } => output.len(),
        Event::ByHand { act, .. } => match act {
            Act::Skip { output, .. } => output.len(),
            Act::EditInput { input, .. } => input.len(),
            Act::Retry { .. } | Act::Undo | Act::Park | Act::Resume => 0,
        },
        Event::Started { .. }
        | Event::Failed { .. }
        | Event::Abandoned { .. }
        | Event::Stuck { .. }
        | Event::UndoBegun { .. }
        | Event::ConfirmBegun
        | Event::Parked
        | Event::Completed
        | Event::Undone
        | Event::ResultDelivered
        | Event::ResultGivenUp { .. } => 0,
    }
}
