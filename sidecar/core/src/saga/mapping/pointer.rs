use std::{collections::BTreeMap, fmt};

use serde_json::value::RawValue;

use super::Error;
use crate::limits::SAGA_ADDRESS_CHARACTERS_MAX;

/// A JSON Pointer (RFC 6901): which part of a document is meant.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pointer {
    tokens: Vec<String>,
}

impl Pointer {
    /// Reads the text form: empty, or every token after a `/`, with `~1` for `/` and `~0`
    /// for `~`.
    ///
    /// # Errors
    /// When the text is not a pointer, or is too long.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let bad = || Error::Pointer {
            pointer: text.chars().take(128).collect(),
        };
        if text.len() > SAGA_ADDRESS_CHARACTERS_MAX {
            return Err(bad());
        }
        let mut tokens = text.split('/');
        if tokens.next() != Some("") {
            return Err(bad());
        }
        let tokens = tokens.map(|token| unescape(token).ok_or_else(bad));
        Ok(Self {
            tokens: tokens.collect::<Result<_, _>>()?,
        })
    }

    /// What the pointer means in a document; nothing when there is no such part.
    ///
    /// # Errors
    /// When the document is not JSON as far as it was read.
    pub(super) fn find<'a>(
        &self,
        document: &'a RawValue,
    ) -> Result<Option<&'a RawValue>, serde_json::Error> {
        let mut at = document;
        for token in &self.tokens {
            let inner = match at.get().as_bytes().first() {
                Some(b'{') => {
                    let members: BTreeMap<String, &RawValue> = serde_json::from_str(at.get())?;
                    members.get(token).copied()
                }
                Some(b'[') => {
                    let items: Vec<&RawValue> = serde_json::from_str(at.get())?;
                    index(token).and_then(|index| items.get(index).copied())
                }
                _ => None,
            };
            match inner {
                Some(inner) => at = inner,
                None => return Ok(None),
            }
        }
        Ok(Some(at))
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        for token in &self.tokens {
            write!(to, "/{}", token.replace('~', "~0").replace('/', "~1"))?;
        }
        Ok(())
    }
}

fn unescape(token: &str) -> Option<String> {
    let mut text = String::with_capacity(token.len());
    let mut characters = token.chars();
    while let Some(character) = characters.next() {
        text.push(match character {
            '~' => match characters.next() {
                Some('0') => '~',
                Some('1') => '/',
                _ => return None,
            },
            other => other,
        });
    }
    Some(text)
}

/// RFC 6901: digits without a leading zero.
fn index(token: &str) -> Option<usize> {
    let digits = !token.is_empty() && token.bytes().all(|b| b.is_ascii_digit());
    (digits && (token == "0" || !token.starts_with('0')))
        .then(|| token.parse().ok())
        .flatten()
}
