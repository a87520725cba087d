use outrigger_core::saga::{
    Definition, ErrorClass, Phase, StepIndex,
    event::{Act, Event, Note, UndoCause},
    ledger::View,
};
use outrigger_proto::v1::SagaHistoryEntry;

use super::{info::reason, phase_name, phase_to};

/// The latest events of a saga, in words.
pub(crate) fn history(view: &View) -> Vec<SagaHistoryEntry> {
    let definition = view.record.definition();
    let entries = view.history.iter().map(|entry| {
        let note = note(&entry.event);
        let (event, step) = Told { definition }.event(&entry.event);
        let step = step.and_then(|step| definition.step(step));
        SagaHistoryEntry {
            sequence: entry.sequence,
            at_ms: entry.at_ms,
            event,
            step: step.map(|step| step.name.clone()).unwrap_or_default(),
            by: note.map(|note| note.by.clone()).unwrap_or_default(),
            reason: note.map(|note| note.reason.clone()).unwrap_or_default(),
        }
    });
    entries.collect()
}

fn note(event: &Event) -> Option<&Note> {
    match event {
        Event::ByHand { note, .. } => Some(note),
        _ => None,
    }
}

struct Told<'a> {
    definition: &'a Definition,
}

impl Told<'_> {
    fn event(&self, event: &Event) -> (String, Option<StepIndex>) {
        match event {
            Event::Started {
                step,
                phase,
                attempt,
                after,
            } => (self.started(*phase, *attempt, *after), Some(*step)),
            Event::Succeeded { step, phase, .. } => {
                (format!("{} succeeded", self.phase(*phase)), Some(*step))
            }
            Event::Failed { step, message, .. } => (format!("was refused: {message}"), Some(*step)),
            Event::Abandoned { step, reason: why } => {
                let why = reason(why);
                (format!("{why}; its outcome is unknown"), Some(*step))
            }
            Event::Stuck {
                step,
                phase,
                reason: why,
            } => {
                let (phase, why) = (self.phase(*phase), reason(why));
                (format!("{phase} is stuck: {why}"), Some(*step))
            }
            Event::UndoBegun { cause } => match cause {
                UndoCause::Step(step) => ("undoing begins because of it".to_owned(), Some(*step)),
                UndoCause::Deadline => ("undoing begins: the deadline is over".to_owned(), None),
                UndoCause::ByHand => ("undoing begins".to_owned(), None),
            },
            Event::ConfirmBegun => ("confirming begins".to_owned(), None),
            Event::Parked => ("parked: nothing goes on without a person".to_owned(), None),
            Event::Completed => ("completed".to_owned(), None),
            Event::Undone => ("undone".to_owned(), None),
            Event::ResultDelivered => ("the result is delivered".to_owned(), None),
            Event::ResultGivenUp { message } => {
                (format!("the result cannot be delivered: {message}"), None)
            }
            Event::ByHand { act, .. } => self.act(act),
        }
    }

    fn started(&self, phase: Phase, attempt: u32, after: Option<ErrorClass>) -> String {
        let phase = self.phase(phase);
        match after {
            Some(after) => format!("{phase}, attempt {attempt}, after {}", after.name()),
            None => format!("{phase}, attempt {attempt}"),
        }
    }

    fn act(&self, act: &Act) -> (String, Option<StepIndex>) {
        match act {
            Act::Retry { step } => ("to be called again".to_owned(), Some(*step)),
            Act::Skip { step, phase, .. } => {
                let phase = self.phase(*phase);
                (format!("{phase} was done by hand"), Some(*step))
            }
            Act::EditInput { step, phase, .. } => {
                let phase = self.phase(*phase);
                (format!("another input for {phase}"), Some(*step))
            }
            Act::Undo => ("to be undone".to_owned(), None),
            Act::Park => ("set aside".to_owned(), None),
            Act::Resume => ("to go on".to_owned(), None),
        }
    }

    fn phase(&self, phase: Phase) -> &'static str {
        phase_name(phase_to(self.definition.mode(), phase))
    }
}
