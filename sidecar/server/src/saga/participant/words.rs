//! What participants and libraries say, for people.

use outrigger_core::limits::SAGA_MESSAGE_CHARACTERS_MAX;

/// At most [`SAGA_MESSAGE_CHARACTERS_MAX`] characters of it, on one line.
pub(super) fn cut(text: &str) -> String {
    let visible = text
        .trim()
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c });
    visible.take(SAGA_MESSAGE_CHARACTERS_MAX).collect()
}

/// An answer that says something to people.
pub(super) fn of(body: &[u8]) -> String {
    cut(&String::from_utf8_lossy(body))
}

/// An error and what caused it.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        // Some errors repeat their cause.
        if !text.ends_with(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        cause = error.source();
    }
    text
}
