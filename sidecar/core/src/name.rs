//! Which names topics and groups may have.

use crate::limits::{GROUP_CHARACTERS_MAX, TOPIC_CHARACTERS_MAX};

/// What the dead-letter topic of a consumer group begins with.
pub const DEAD_LETTER_PREFIX: &str = "%DLQ%";

/// Why a name is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Every topic and group has a name.
    #[error("{field} is empty")]
    Empty {
        /// Which field of the request.
        field: &'static str,
    },
    /// The name is too long.
    #[error("{field} has {characters} characters, at most {limit} are allowed")]
    TooLong {
        /// Which field of the request.
        field: &'static str,
        /// How long the name is.
        characters: usize,
        /// How long it may be.
        limit: usize,
    },
    /// The name has a character that is not allowed.
    #[error(
        "{field} has the character {character:?}; letters a-z and A-Z, digits, `_`, `-`, `%` and `.` are allowed"
    )]
    Illegal {
        /// Which field of the request.
        field: &'static str,
        /// The first character that is not allowed.
        character: char,
    },
}

/// Checks the name of a topic; `field` is named in the error.
///
/// # Errors
/// When the name is empty, longer than [`TOPIC_CHARACTERS_MAX`], or has an illegal
/// character.
pub fn check_topic(field: &'static str, name: &str) -> Result<(), Error> {
    check(field, name, TOPIC_CHARACTERS_MAX)
}

/// Checks the name of a producer group, a consumer group or a guard's scope; `field` is
/// named in the error.
///
/// # Errors
/// When the name is empty, longer than [`GROUP_CHARACTERS_MAX`], or has an illegal
/// character.
pub fn check_group(field: &'static str, name: &str) -> Result<(), Error> {
    check(field, name, GROUP_CHARACTERS_MAX)
}

/// The topic where the dead letters of a consumer group go.
#[must_use]
pub fn dead_letter_topic(consumer_group: &str) -> String {
    format!("{DEAD_LETTER_PREFIX}{consumer_group}")
}

pub(crate) fn check(field: &'static str, name: &str, limit: usize) -> Result<(), Error> {
    if name.is_empty() {
        return Err(Error::Empty { field });
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '%' | '.');
    if let Some(character) = name.chars().find(|c| !allowed(*c)) {
        return Err(Error::Illegal { field, character });
    }
    if name.len() > limit {
        let characters = name.len();
        return Err(Error::TooLong {
            field,
            characters,
            limit,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dead_letter_topic_of_every_legal_group_is_a_legal_topic() {
        let group = "g".repeat(GROUP_CHARACTERS_MAX);
        assert_eq!(check_group("group", &group), Ok(()));
        assert_eq!(check_topic("topic", &dead_letter_topic(&group)), Ok(()));
    }

    #[test]
    fn a_refusal_names_the_field_the_value_and_the_limit() {
        let too_long = check_topic("topic", &"t".repeat(128)).unwrap_err();
        assert_eq!(
            too_long.to_string(),
            "topic has 128 characters, at most 127 are allowed"
        );
        let illegal = check_group("consumer_group", "stock/service").unwrap_err();
        assert!(
            illegal
                .to_string()
                .starts_with("consumer_group has the character '/'")
        );
        assert!(check_topic("topic", "").is_err());
        assert!(check_topic("topic", "größe").is_err());
    }
}
