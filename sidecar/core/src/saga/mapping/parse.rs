//! The JSON form of a mapping.

use std::{collections::BTreeMap, fmt::Write as _};

use serde_json::value::RawValue;

use super::{Error, Mapping, Pointer, Reference, Source};
use crate::limits::SAGA_MAPPING_DEPTH_MAX;

const REF: &str = "$ref";
const LITERAL: &str = "$literal";
const DEFAULT: &str = "default";

impl Mapping {
    /// Reads the JSON form.
    ///
    /// # Errors
    /// When it is not JSON, is nested more than [`SAGA_MAPPING_DEPTH_MAX`] deep, or has a
    /// reference that is none.
    pub fn parse(json: &str) -> Result<Self, Error> {
        let raw: &RawValue = serde_json::from_str(json).map_err(not_json)?;
        parse(raw, true, SAGA_MAPPING_DEPTH_MAX)
    }

    /// Writes the JSON form; reading it gives an equal mapping.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut to = String::new();
        write(self, &mut to);
        to
    }
}

fn parse(raw: &RawValue, references: bool, depth: usize) -> Result<Mapping, Error> {
    let limit = SAGA_MAPPING_DEPTH_MAX;
    let depth = depth.checked_sub(1).ok_or(Error::TooDeep { limit })?;
    let text = raw.get();
    Ok(match text.as_bytes().first() {
        Some(b'{') => {
            let members: BTreeMap<String, &RawValue> =
                serde_json::from_str(text).map_err(not_json)?;
            if references && let Some(target) = members.get(REF) {
                return reference(target, &members, depth);
            }
            if references && let Some(literal) = members.get(LITERAL) {
                known_keys(&members, &[LITERAL])?;
                return parse(literal, false, depth);
            }
            let members = members.into_iter();
            let members = members.map(|(key, raw)| Ok((key, parse(raw, references, depth)?)));
            Mapping::Object(members.collect::<Result<_, Error>>()?)
        }
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(text).map_err(not_json)?;
            let items = items.into_iter().map(|raw| parse(raw, references, depth));
            Mapping::Array(items.collect::<Result<_, _>>()?)
        }
        // One spelling for equal strings, so that equal mappings have equal digests.
        Some(b'"') => {
            let text: String = serde_json::from_str(text).map_err(not_json)?;
            Mapping::Scalar(quoted(&text))
        }
        _ => Mapping::Scalar(text.to_owned()),
    })
}

fn reference(
    target: &RawValue,
    members: &BTreeMap<String, &RawValue>,
    depth: usize,
) -> Result<Mapping, Error> {
    known_keys(members, &[REF, DEFAULT])?;
    let bad = || Error::Reference {
        reference: target.get().chars().take(128).collect(),
    };
    let text: String = serde_json::from_str(target.get()).map_err(|_| bad())?;
    let (source, pointer) = text.split_once('#').unwrap_or((&text, ""));
    let source = match source.strip_prefix("steps/") {
        Some(name) if !name.is_empty() => Source::Step(name.to_owned()),
        None if source == "input" => Source::Input,
        Some(_) | None => return Err(bad()),
    };
    let default = members.get(DEFAULT);
    let default = default.map(|raw| parse(raw, false, depth)).transpose()?;
    Ok(Mapping::Reference(Reference {
        source,
        pointer: Pointer::parse(pointer)?,
        default: default.map(Box::new),
    }))
}

fn known_keys(members: &BTreeMap<String, &RawValue>, known: &[&str]) -> Result<(), Error> {
    match members.keys().find(|key| !known.contains(&key.as_str())) {
        Some(key) => Err(Error::Key { key: key.clone() }),
        None => Ok(()),
    }
}

fn write(mapping: &Mapping, to: &mut String) {
    match mapping {
        Mapping::Scalar(text) => to.push_str(text),
        Mapping::Array(items) => {
            to.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    to.push(',');
                }
                write(item, to);
            }
            to.push(']');
        }
        // Only parsing of a $literal makes such an object: nothing in it is a reference.
        Mapping::Object(members) if members.iter().any(|(k, _)| k == REF || k == LITERAL) => {
            let _ = write!(to, "{{{}:", quoted(LITERAL));
            super::evaluate::write_literal(mapping, to);
            to.push('}');
        }
        Mapping::Object(members) => {
            to.push('{');
            for (at, (key, value)) in members.iter().enumerate() {
                if at > 0 {
                    to.push(',');
                }
                to.push_str(&quoted(key));
                to.push(':');
                write(value, to);
            }
            to.push('}');
        }
        Mapping::Reference(reference) => {
            let text = quoted(&reference.to_string());
            let _ = write!(to, "{{{}:{text}", quoted(REF));
            if let Some(default) = &reference.default {
                let _ = write!(to, ",{}:", quoted(DEFAULT));
                super::evaluate::write_literal(default, to);
            }
            to.push('}');
        }
    }
}

pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn not_json(error: serde_json::Error) -> Error {
    Error::NotJson {
        message: error.to_string(),
    }
}
