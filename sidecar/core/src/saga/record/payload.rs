//! What a step is called with, and what a saga gives back.

use bytes::Bytes;
use serde_json::value::RawValue;

use super::{Record, Status, StepState};
use crate::saga::{
    Phase, StepIndex,
    mapping::{self, Documents, Source},
};

impl Documents for Record {
    fn document(&self, source: &Source) -> Option<&Bytes> {
        match source {
            Source::Input => Some(&self.started().input),
            Source::Step(name) => {
                let step = self.definition().index_of(name)?;
                self.step(step)?.output()
            }
        }
    }
}

impl Record {
    /// What a step is called with in a phase: the input that a person wrote; otherwise what
    /// the mapping makes; otherwise, for an action, the input of the saga, and for the other
    /// phases what the action is called with.
    ///
    /// # Errors
    /// When the mapping cannot be evaluated.
    pub fn payload(&self, step: StepIndex, phase: Phase) -> Result<Bytes, mapping::Error> {
        let edited = self.step(step).and_then(|record| record.edited.get(&phase));
        if let Some(edited) = edited {
            return Ok(edited.clone());
        }
        let action = self.definition().action(step, phase);
        match (action.and_then(|action| action.input.as_ref()), phase) {
            (Some(mapping), _) => mapping.evaluate(self, self.definition().payload_bytes_max()),
            (None, Phase::Action) => Ok(self.started().input.clone()),
            (None, Phase::Undo | Phase::Confirm) => self.payload(step, Phase::Action),
        }
    }

    /// The idempotency key of a call. Every attempt has the same one, until a person has a
    /// call repeated that was refused.
    #[must_use]
    pub fn idempotency_key(&self, step: StepIndex, phase: Phase) -> String {
        let round = match self.step(step) {
            Some(record) if record.state() == StepState::Calling(phase) => record.round,
            Some(_) | None => 0,
        };
        let phase = match phase {
            Phase::Action => "action",
            Phase::Undo => "undo",
            Phase::Confirm => "confirm",
        };
        let (saga, step) = (&self.started().saga, self.step_name(step));
        match round {
            0 => format!("{saga}/{step}/{phase}"),
            _ => format!("{saga}/{step}/{phase}/{round}"),
        }
    }

    /// What the saga gives back: nothing before it is completed, then what the definition
    /// makes of the outputs, or an object with every step's output under its name, null in
    /// place of one that is not JSON.
    ///
    /// # Errors
    /// When the definition's mapping cannot be evaluated.
    pub fn result(&self) -> Result<Option<Bytes>, mapping::Error> {
        match self.status() {
            Status::Completed => {}
            Status::Working(_) | Status::Parked { .. } | Status::Undone => return Ok(None),
        }
        if let Some(mapping) = self.definition().output() {
            let limit = crate::limits::SAGA_PAYLOADS_BYTES_MAX;
            return mapping.evaluate(self, limit).map(Some);
        }
        let mut to = String::from("{");
        for (step, record) in self.definition().steps().iter().zip(self.steps()) {
            if to.len() > 1 {
                to.push(',');
            }
            let output = record.output().map(Bytes::as_ref).unwrap_or_default();
            let output: Option<&RawValue> = serde_json::from_slice(output).ok();
            // The name of a step needs no escaping.
            to.push_str(&format!("\"{}\":", step.name));
            to.push_str(output.map_or("null", RawValue::get));
        }
        to.push('}');
        Ok(Some(to.into()))
    }
}
