use bytes::Bytes;
use serde_json::value::RawValue;

use super::{Error, Mapping, Reference, Source, parse::quoted};

/// The documents that references point into.
pub trait Documents {
    /// The document, when there is one.
    fn document(&self, source: &Source) -> Option<&Bytes>;
}

impl Mapping {
    /// Makes the document, at most `limit` bytes of it.
    ///
    /// # Errors
    /// When a reference without a default finds nothing, points into something that is not
    /// JSON, or the document becomes too large.
    pub fn evaluate(&self, documents: &dyn Documents, limit: usize) -> Result<Bytes, Error> {
        // The one case in which the document need not be JSON: all of it is passed on.
        if let Self::Reference(reference) = self
            && reference.pointer == super::Pointer::default()
            && let Some(document) = documents.document(&reference.source)
        {
            return if document.len() > limit {
                Err(Error::TooLarge { limit })
            } else {
                Ok(document.clone())
            };
        }
        let mut to = String::new();
        write(self, Some(documents), limit, &mut to)?;
        Ok(to.into())
    }
}

/// Writes a mapping whose `$ref` and `$literal` mean nothing.
pub(super) fn write_literal(mapping: &Mapping, to: &mut String) {
    // Without documents and limit nothing can fail.
    let _ = write(mapping, None, usize::MAX, to);
}

fn write(
    mapping: &Mapping,
    documents: Option<&dyn Documents>,
    limit: usize,
    to: &mut String,
) -> Result<(), Error> {
    match mapping {
        Mapping::Scalar(text) => to.push_str(text),
        Mapping::Array(items) => {
            to.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    to.push(',');
                }
                write(item, documents, limit, to)?;
            }
            to.push(']');
        }
        Mapping::Object(members) => {
            to.push('{');
            for (at, (key, value)) in members.iter().enumerate() {
                if at > 0 {
                    to.push(',');
                }
                to.push_str(&quoted(key));
                to.push(':');
                write(value, documents, limit, to)?;
            }
            to.push('}');
        }
        Mapping::Reference(reference) => match resolve(reference, documents)? {
            Some(value) => to.push_str(&value),
            None => {
                let default = reference.default.as_deref();
                let default = default.ok_or_else(|| Error::Missing {
                    reference: reference.to_string(),
                })?;
                write(default, None, limit, to)?;
            }
        },
    }
    if to.len() > limit {
        return Err(Error::TooLarge { limit });
    }
    Ok(())
}

fn resolve(
    reference: &Reference,
    documents: Option<&dyn Documents>,
) -> Result<Option<String>, Error> {
    let Some(document) = documents.and_then(|all| all.document(&reference.source)) else {
        return Ok(None);
    };
    let not_json = |_| Error::SourceNotJson {
        reference: reference.to_string(),
    };
    let raw: &RawValue = serde_json::from_slice(document).map_err(not_json)?;
    let found = reference.pointer.find(raw).map_err(not_json)?;
    Ok(found.map(|raw| raw.get().to_owned()))
}
