use std::{collections::BTreeSet, marker::PhantomData};

use serde::Serialize;
use serde_json::{Map, json};

/// A value that will be known when the saga runs: a literal, or made from the saga's input and
/// the outputs of steps.
///
/// `T` is what the participant finds when it reads it. Whole inputs and outputs have their
/// types from the definition; with [`Value::at`] and [`Value::object`] it is the caller who
/// says so.
#[derive(Debug)]
pub struct Value<T> {
    pub(super) mapping: serde_json::Value,
    /// The steps whose outputs are used.
    pub(super) steps: BTreeSet<String>,
    of: PhantomData<fn() -> T>,
}

impl<T> Clone for Value<T> {
    fn clone(&self) -> Self {
        Self::new(self.mapping.clone(), self.steps.clone())
    }
}

impl<T> Value<T> {
    pub(super) fn new(mapping: serde_json::Value, steps: BTreeSet<String>) -> Self {
        Self {
            mapping,
            steps,
            of: PhantomData,
        }
    }

    pub(super) fn input() -> Self {
        Self::new(json!({"$ref": "input"}), BTreeSet::new())
    }

    pub(super) fn output(step: &str) -> Self {
        let reference = format!("steps/{step}");
        Self::new(json!({ "$ref": reference }), [step.to_owned()].into())
    }

    /// A part of it, by a JSON Pointer (RFC 6901) such as `/order/id`. The pointer is added to
    /// that of this value; a part of a literal or an object is null.
    #[must_use]
    pub fn at<U>(&self, pointer: &str) -> Value<U> {
        let reference = self.mapping.get("$ref").and_then(|r| r.as_str());
        let mapping = reference.map_or(serde_json::Value::Null, |reference| {
            let (source, inner) = reference.split_once('#').unwrap_or((reference, ""));
            json!({ "$ref": format!("{source}#{inner}{pointer}") })
        });
        Value::new(mapping, self.steps.clone())
    }

    /// What it is when there is nothing where it points to.
    ///
    /// # Errors
    /// When the default cannot be written as JSON.
    pub fn or(mut self, default: &T) -> Result<Self, serde_json::Error>
    where
        T: Serialize,
    {
        let default = serde_json::to_value(default)?;
        if let Some(reference) = self.mapping.as_object_mut() {
            reference.insert("default".to_owned(), default);
        }
        Ok(self)
    }

    /// A value that is the same for every saga.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub fn literal(value: &T) -> Result<Self, serde_json::Error>
    where
        T: Serialize,
    {
        let literal = json!({ "$literal": serde_json::to_value(value)? });
        Ok(Self::new(literal, BTreeSet::new()))
    }
}

impl Value<()> {
    /// A JSON object, field by field.
    #[must_use]
    pub fn object() -> ObjectBuilder {
        ObjectBuilder::default()
    }
}

/// Builds a JSON object from values.
#[derive(Debug, Default)]
pub struct ObjectBuilder {
    fields: Map<String, serde_json::Value>,
    steps: BTreeSet<String>,
}

impl ObjectBuilder {
    /// Adds a field; it must not begin with `$`.
    #[must_use]
    pub fn field<T>(mut self, name: impl Into<String>, value: &Value<T>) -> Self {
        self.fields.insert(name.into(), value.mapping.clone());
        self.steps.extend(value.steps.iter().cloned());
        self
    }

    /// The object. `T` is what the participant reads it as.
    #[must_use]
    pub fn build<T>(self) -> Value<T> {
        Value::new(self.fields.into(), self.steps)
    }
}
