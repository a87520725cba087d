//! How the input of a step is made from the saga's input and the outputs of earlier steps.
//!
//! A mapping is a JSON document in which some values are references:
//!
//! ```json
//! {
//!   "order":  { "$ref": "input#/order/id" },
//!   "stock":  { "$ref": "steps/reserve#/reservation", "default": null },
//!   "source": "shop",
//!   "odd":    { "$literal": { "$ref": "this is not a reference" } }
//! }
//! ```
//!
//! What stands after `#` is a JSON Pointer (RFC 6901); without one the whole document is
//! meant. Values are copied as they were written, digit for digit.

mod evaluate;
mod parse;
mod pointer;
#[cfg(test)]
mod tests;

use std::fmt;

pub use evaluate::Documents;
pub use pointer::Pointer;

/// A document with references in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mapping {
    /// Null, true, false, a number or a string, as JSON text.
    Scalar(String),
    /// A JSON array.
    Array(Vec<Mapping>),
    /// A JSON object; its keys are sorted and unique.
    Object(Vec<(String, Mapping)>),
    /// A value from elsewhere.
    Reference(Reference),
}

/// A value from elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// Which document.
    pub source: Source,
    /// Which part of it.
    pub pointer: Pointer,
    /// What it is when there is no such document or no such part; without a default that
    /// is an error. A mapping without references.
    pub default: Option<Box<Mapping>>,
}

/// Which document a reference points into.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The input of the saga.
    Input,
    /// The output of a step, by its name.
    Step(String),
}

impl fmt::Display for Source {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input => to.write_str("input"),
            Self::Step(name) => write!(to, "steps/{name}"),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{}#{}", self.source, self.pointer)
    }
}

impl Mapping {
    /// The whole input of the saga: what a step gets that has no mapping.
    #[must_use]
    pub fn whole_input() -> Self {
        Self::Reference(Reference {
            source: Source::Input,
            pointer: Pointer::default(),
            default: None,
        })
    }

    /// Calls `visit` for every reference.
    pub fn references<'a>(&'a self, visit: &mut impl FnMut(&'a Reference)) {
        match self {
            Self::Scalar(_) => {}
            Self::Array(items) => items.iter().for_each(|item| item.references(visit)),
            Self::Object(members) => members.iter().for_each(|(_, m)| m.references(visit)),
            Self::Reference(reference) => visit(reference),
        }
    }
}

/// Why a mapping is refused, or cannot be evaluated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is not JSON.
    #[error("is not JSON: {message}")]
    NotJson {
        /// What the parser says.
        message: String,
    },
    /// It is nested too deeply.
    #[error("is nested more than {limit} deep")]
    TooDeep {
        /// How deep it may be.
        limit: usize,
    },
    /// A `$ref` is not `input#/pointer` or `steps/NAME#/pointer`.
    #[error("has the reference {reference:?}; `input#/pointer` or `steps/NAME#/pointer` is meant")]
    Reference {
        /// What stands there.
        reference: String,
    },
    /// Not a JSON Pointer.
    #[error("has {pointer:?}, which is not a JSON Pointer (RFC 6901) such as `/order/id`")]
    Pointer {
        /// What stands there.
        pointer: String,
    },
    /// An object that begins with `$ref` or `$literal` has a key that means nothing there.
    #[error("has the key {key:?} beside a $ref or $literal; only \"default\" beside $ref is known")]
    Key {
        /// The key.
        key: String,
    },
    /// A reference finds nothing, and has no default.
    #[error("refers to {reference}, where there is nothing, and has no default")]
    Missing {
        /// The reference.
        reference: String,
    },
    /// What a reference points into is not JSON.
    #[error("refers to {reference}, but what is there is not JSON")]
    SourceNotJson {
        /// The reference.
        reference: String,
    },
    /// The document that it makes is too large.
    #[error("makes a document of more than {limit} bytes")]
    TooLarge {
        /// How large it may be.
        limit: usize,
    },
}
