//! A definition as a person or a program wrote it, before anything is checked.

use super::{Retry, Version};
use crate::{
    limits::{SAGA_CALL_TIMEOUT_MS_DEFAULT, SAGA_PAYLOAD_BYTES_DEFAULT},
    saga::mapping::Mapping,
};

/// A definition that nobody has checked yet. See [`Definition::new`](super::Definition::new).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// What it is called; at most 120 characters, as the name of a group.
    pub name: String,
    /// What the steps are made of.
    pub mode: Mode,
    /// 1 to 128 steps; their order means nothing.
    pub steps: Vec<DraftStep>,
    /// How long the whole may take, from its start, before it is undone; at most 365 days.
    /// After the point of no return the saga goes on. Without one it takes its time.
    pub deadline_ms: Option<u64>,
    /// What the saga gives back when it is completed; without a mapping an object with the
    /// output of every step under its name.
    pub output: Option<Mapping>,
    /// Where the result is delivered; at most 4 places.
    pub deliveries: Vec<Delivery>,
    /// Largest input of the saga, input of a step, and output of a step; default 1 MiB, at
    /// most 4 MiB.
    pub payload_bytes_max: u32,
}

/// One step of a [`Draft`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DraftStep {
    /// Unique in its definition; at most 64 letters, digits, `_`, `-` and `.`.
    pub name: String,
    /// Names of the steps that must have succeeded before.
    pub depends_on: Vec<String>,
    /// The action; in TCC the try.
    pub action: Action,
    /// How it is undone; in TCC the cancel.
    pub undo: Undo,
    /// TCC only, and necessary there: the confirm.
    pub confirm: Option<Action>,
    /// The point of no return: when this step has succeeded nothing is undone any more, and
    /// everything after it is repeated until it succeeds.
    pub pivot: bool,
}

/// What the steps of a saga are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// An action, and an undo for it.
    Saga,
    /// A try that reserves, then a confirm for all steps or a cancel for all steps.
    Tcc,
}

/// How the action of a step is undone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Undo {
    /// Nobody said. Right after the pivot, for the pivot, and for a sub-saga, which is
    /// undone as the saga that it is.
    Unspecified,
    /// There is nothing to undo, such as after asking a question.
    Nothing,
    /// By calling this.
    Call(Action),
}

/// A call: whom, with what, how long and how often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    /// Whom.
    pub target: Target,
    /// With what. Without a mapping an action gets the input of the saga, and an undo, a
    /// confirm or a cancel what its action got.
    pub input: Option<Mapping>,
    /// How long one attempt may take; 10 ms to 1 h, default 10 s.
    pub timeout_ms: u64,
    /// How often, and after which waits.
    pub retry: Retry,
}

impl Action {
    /// A call with the defaults.
    #[must_use]
    pub fn new(target: Target) -> Self {
        Self {
            target,
            input: None,
            timeout_ms: SAGA_CALL_TIMEOUT_MS_DEFAULT,
            retry: Retry::default(),
        }
    }
}

/// Whom a step calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// POST to this address.
    Http {
        /// `http://` or `https://`; at most 2,048 characters.
        url: String,
    },
    /// `outrigger.v1.Participant` at this address.
    Grpc {
        /// `http://` or `https://`; at most 2,048 characters.
        url: String,
        /// Which of the participant's operations; at most 120 characters.
        operation: String,
    },
    /// A message, then its reply.
    Message {
        /// The topic that it is sent to.
        topic: String,
        /// Its tag; may be empty.
        tag: String,
    },
    /// A saga of its own.
    Saga {
        /// The name of its definition.
        definition: String,
        /// The version of its definition.
        version: Version,
    },
}

/// Where the result of a saga goes when it has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// POST to this address, until it is answered with 2xx.
    Webhook {
        /// `http://` or `https://`; at most 2,048 characters.
        url: String,
    },
    /// A message.
    Message {
        /// The topic that it is sent to.
        topic: String,
        /// Its tag; may be empty.
        tag: String,
    },
}

impl Draft {
    /// A draft without steps, with the defaults.
    #[must_use]
    pub fn new(name: impl Into<String>, mode: Mode) -> Self {
        Self {
            name: name.into(),
            mode,
            steps: Vec::new(),
            deadline_ms: None,
            output: None,
            deliveries: Vec::new(),
            payload_bytes_max: SAGA_PAYLOAD_BYTES_DEFAULT,
        }
    }
}

impl DraftStep {
    /// A step that depends on nothing.
    #[must_use]
    pub fn new(name: impl Into<String>, action: Action, undo: Undo) -> Self {
        Self {
            name: name.into(),
            depends_on: Vec::new(),
            action,
            undo,
            confirm: None,
            pivot: false,
        }
    }

    /// After these steps.
    #[must_use]
    pub fn after(mut self, names: &[&str]) -> Self {
        self.depends_on = names.iter().map(|&name| name.to_owned()).collect();
        self
    }
}
