use crate::{
    limits::SAGA_ID_CHARACTERS_MAX,
    name::{self, Error},
};

/// Checks the id of a saga that an application starts: 1 to 128 letters, digits, `_`, `-`,
/// `%` and `.`.
///
/// # Errors
/// When it is empty, too long, or has another character.
pub fn check_id(field: &'static str, id: &str) -> Result<(), Error> {
    name::check(field, id, SAGA_ID_CHARACTERS_MAX)
}

/// The id of a saga that is a step of another one. It has a `/`, which no other id has, and
/// is the same whenever the step is called, so that a repeated call starts nothing new.
#[must_use]
pub fn child_id(parent: &str, step: &str) -> String {
    format!("{parent}/{step}")
}
