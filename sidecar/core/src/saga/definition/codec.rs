//! The canonical binary form of a [`Definition`]: steps in their order, everything that
//! defaults decide written out.

use bytes::{BufMut as _, Bytes};

use super::{
    Action, Attempts, Definition, Delivery, Draft, DraftStep, Error, Mode, Retry, RetryPolicy,
    Target, Undo, Version,
};
use crate::{
    saga::{
        ErrorClass,
        codec::{
            DecodeError, check_end, check_version, damaged, get_count, get_flag, get_option,
            get_optional_u64, get_text, put_count, put_option, put_text,
        },
        mapping::Mapping,
    },
    wire::{get_bytes, get_u8, get_u32, get_u64},
};

const WHAT: &str = "saga definition";
const VERSION: u8 = 1;

/// Why stored bytes are not a definition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// The bytes are not an encoded definition.
    #[error(transparent)]
    Bytes(#[from] DecodeError),
    /// The bytes are one that this program would refuse.
    #[error(transparent)]
    Content(#[from] Error),
    /// The bytes are not in the one form that their content has.
    #[error("saga definition {version} is not in canonical form")]
    NotCanonical {
        /// The version that the content has.
        version: Version,
    },
}

impl Definition {
    /// Reads the canonical binary form, and checks it as a draft is checked.
    ///
    /// # Errors
    /// When the bytes are damaged, from a newer program, or no legal definition.
    pub fn decode(encoded: Bytes) -> Result<Self, LoadError> {
        let mut from = encoded.clone();
        let draft = get_draft(&mut from)?;
        check_end(&from)?;
        let definition = Self::new(draft)?;
        if definition.encoded != encoded {
            let version = definition.version;
            return Err(LoadError::NotCanonical { version });
        }
        Ok(definition)
    }
}

pub(super) fn encode(definition: &Definition) -> Bytes {
    let mut to = Vec::with_capacity(256);
    to.put_u8(VERSION);
    put_text(&mut to, &definition.name);
    to.put_u8(match definition.mode {
        Mode::Saga => 0,
        Mode::Tcc => 1,
    });
    put_option(&mut to, definition.deadline_ms, |to, ms| to.put_u64_le(ms));
    put_option(&mut to, definition.output.as_ref(), put_mapping);
    put_count(&mut to, definition.deliveries.len());
    for delivery in &definition.deliveries {
        match delivery {
            Delivery::Webhook { url } => {
                to.put_u8(0);
                put_text(&mut to, url);
            }
            Delivery::Message { topic, tag } => {
                to.put_u8(1);
                put_text(&mut to, topic);
                put_text(&mut to, tag);
            }
        }
    }
    to.put_u32_le(definition.payload_bytes_max);
    put_count(&mut to, definition.steps.len());
    for (at, step) in definition.steps.iter().enumerate() {
        put_text(&mut to, &step.name);
        put_count(&mut to, step.depends_on.len());
        for dependency in &step.depends_on {
            let dependency = definition.step(*dependency);
            put_text(&mut to, dependency.map_or("", |step| &step.name));
        }
        to.put_u8(u8::from(definition.pivot.map(usize::from) == Some(at)));
        put_action(&mut to, &step.action);
        put_option(&mut to, step.undo.as_ref(), put_action);
        put_option(&mut to, step.confirm.as_ref(), put_action);
    }
    to.into()
}

fn get_draft(from: &mut Bytes) -> Result<Draft, DecodeError> {
    check_version(from, WHAT, VERSION)?;
    let name = get_text(from, "the name")?;
    let mode = match get_u8(from)? {
        0 => Mode::Saga,
        1 => Mode::Tcc,
        _ => return Err(damaged("the mode")),
    };
    let deadline_ms = get_optional_u64(from, "the deadline")?;
    let output = get_option(from, "the output", get_mapping)?;
    let deliveries = (0..get_count(from)?).map(|_| match get_u8(from)? {
        0 => Ok(Delivery::Webhook {
            url: get_text(from, "a webhook")?,
        }),
        1 => Ok(Delivery::Message {
            topic: get_text(from, "a topic")?,
            tag: get_text(from, "a tag")?,
        }),
        _ => Err(damaged("a delivery")),
    });
    let deliveries = deliveries.collect::<Result<_, _>>()?;
    let payload_bytes_max = get_u32(from)?;
    let steps = (0..get_count(from)?).map(|_| get_step(from));
    Ok(Draft {
        name,
        mode,
        steps: steps.collect::<Result<_, _>>()?,
        deadline_ms,
        output,
        deliveries,
        payload_bytes_max,
    })
}

fn get_step(from: &mut Bytes) -> Result<DraftStep, DecodeError> {
    let name = get_text(from, "a step's name")?;
    let depends_on = (0..get_count(from)?).map(|_| get_text(from, "a dependency"));
    let depends_on = depends_on.collect::<Result<_, _>>()?;
    let pivot = get_flag(from, "the pivot")?;
    let action = get_action(from)?;
    let undo = get_option(from, "the undo", get_action)?;
    // The undo of a saga is never written by hand.
    let undo = match undo {
        Some(undo) if matches!(undo.target, Target::Saga { .. }) => Undo::Unspecified,
        Some(undo) => Undo::Call(undo),
        None => Undo::Nothing,
    };
    Ok(DraftStep {
        name,
        depends_on,
        action,
        undo,
        confirm: get_option(from, "the confirm", get_action)?,
        pivot,
    })
}

fn put_action(to: &mut Vec<u8>, action: &Action) {
    match &action.target {
        Target::Http { url } => {
            to.put_u8(0);
            put_text(to, url);
        }
        Target::Grpc { url, operation } => {
            to.put_u8(1);
            put_text(to, url);
            put_text(to, operation);
        }
        Target::Message { topic, tag } => {
            to.put_u8(2);
            put_text(to, topic);
            put_text(to, tag);
        }
        Target::Saga {
            definition,
            version,
        } => {
            to.put_u8(3);
            put_text(to, definition);
            to.put_u128_le(version.0);
        }
    }
    put_option(to, action.input.as_ref(), put_mapping);
    to.put_u64_le(action.timeout_ms);
    put_policy(to, &action.retry.otherwise);
    put_count(to, action.retry.classes.len());
    for (class, policy) in &action.retry.classes {
        to.put_u8(class.number());
        put_policy(to, policy);
    }
}

fn get_action(from: &mut Bytes) -> Result<Action, DecodeError> {
    let target = match get_u8(from)? {
        0 => Target::Http {
            url: get_text(from, "a URL")?,
        },
        1 => Target::Grpc {
            url: get_text(from, "a URL")?,
            operation: get_text(from, "an operation")?,
        },
        2 => Target::Message {
            topic: get_text(from, "a topic")?,
            tag: get_text(from, "a tag")?,
        },
        3 => {
            let definition = get_text(from, "a definition")?;
            let (low, high) = (get_u64(from)?, get_u64(from)?);
            Target::Saga {
                definition,
                version: Version(u128::from(low) | u128::from(high) << 64),
            }
        }
        _ => return Err(damaged("a target")),
    };
    let input = get_option(from, "an input", get_mapping)?;
    let timeout_ms = get_u64(from)?;
    let otherwise = get_policy(from)?;
    let classes = (0..get_count(from)?).map(|_| {
        let class = ErrorClass::from_number(get_u8(from)?);
        let class = class.ok_or_else(|| damaged("an error class"))?;
        Ok::<_, DecodeError>((class, get_policy(from)?))
    });
    let classes = classes.collect::<Result<_, _>>()?;
    Ok(Action {
        target,
        input,
        timeout_ms,
        retry: Retry { otherwise, classes },
    })
}

fn put_policy(to: &mut Vec<u8>, policy: &RetryPolicy) {
    to.put_u64_le(policy.base_ms);
    to.put_u64_le(policy.cap_ms);
    to.put_u32_le(match policy.attempts {
        // Validation has replaced the first.
        Attempts::ByPosition | Attempts::Unbounded => 0,
        Attempts::AtMost(most) => most,
    });
}

fn get_policy(from: &mut Bytes) -> Result<RetryPolicy, DecodeError> {
    Ok(RetryPolicy {
        base_ms: get_u64(from)?,
        cap_ms: get_u64(from)?,
        attempts: match get_u32(from)? {
            0 => Attempts::Unbounded,
            most => Attempts::AtMost(most),
        },
    })
}

fn put_mapping(to: &mut Vec<u8>, mapping: &Mapping) {
    put_text(to, &mapping.to_json());
}

fn get_mapping(from: &mut Bytes) -> Result<Mapping, DecodeError> {
    let json = get_bytes(from)?;
    let json = std::str::from_utf8(&json).map_err(|_| damaged("a mapping"))?;
    Mapping::parse(json).map_err(|_| damaged("a mapping"))
}
