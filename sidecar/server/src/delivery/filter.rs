use std::collections::BTreeSet;

use bytes::Bytes;
use outrigger_core::limits::{FILTER_CHARACTERS_MAX, TAG_CHARACTERS_MAX};
use prost::Message as _;

use crate::edge::{status::Failure, tag_hash};

/// Which messages a consumer group wants of a topic: all of them, or those with one of
/// some tags.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Filter {
    /// None for all.
    tags: Option<BTreeSet<String>>,
    hashes: BTreeSet<u32>,
}

impl Filter {
    /// Reads `*`, nothing, or `a || b`.
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        let text = text.trim();
        if text.is_empty() || text == "*" {
            return Ok(Self::default());
        }
        let refused = |value: &str, limit: &str| {
            Err(Failure::invalid("ILLEGAL_FILTER", "filter", value, limit))
        };
        if text.chars().count() > FILTER_CHARACTERS_MAX {
            let limit = format!("at most {FILTER_CHARACTERS_MAX} characters");
            return refused(text, &limit);
        }
        let mut tags = BTreeSet::new();
        for tag in text.split("||").map(str::trim) {
            let characters = tag.chars().count();
            if tag.contains('|') || !(1..=TAG_CHARACTERS_MAX).contains(&characters) {
                let limit = format!(
                    "`*`, or tags of 1 to {TAG_CHARACTERS_MAX} characters with `||` between them"
                );
                return refused(text, &limit);
            }
            tags.insert(tag.to_owned());
        }
        let hashes = tags.iter().map(|tag| tag_hash(tag)).collect();
        Ok(Self {
            tags: Some(tags),
            hashes,
        })
    }

    /// Whether a message may match; two tags may have one hash.
    pub(crate) fn may_match(&self, tag_hash: u32) -> bool {
        self.tags.is_none() || self.hashes.contains(&tag_hash)
    }

    /// Whether a message does match.
    pub(crate) fn matches(&self, stored: &Bytes) -> bool {
        let Some(tags) = &self.tags else {
            return true;
        };
        // What cannot be read is for the consumer to see, not to be dropped here.
        Tagged::decode(stored.clone()).map_or(true, |message| tags.contains(&message.tag))
    }
}

/// The one field of `outrigger.v1.Message` that filters look at.
#[derive(Clone, PartialEq, prost::Message)]
struct Tagged {
    #[prost(string, tag = "4")]
    tag: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_alternatives_and_spaces_do_not_matter() {
        let filter = Filter::parse(" created||  paid ").unwrap();
        assert_eq!(filter, Filter::parse("paid || created").unwrap());
        assert!(filter.may_match(tag_hash("paid")));
        assert!(!filter.may_match(tag_hash("refused")) && !filter.may_match(0));
        for all in ["", "*", " * "] {
            assert!(Filter::parse(all).unwrap().may_match(0));
        }
    }

    #[test]
    fn a_filter_that_means_nothing_is_refused() {
        for text in ["a | b", "a ||", "|| a", "a || || b"] {
            let failure = Filter::parse(text).unwrap_err();
            assert_eq!(failure.reason, "ILLEGAL_FILTER", "{text}");
            assert!(failure.message.contains(text), "{}", failure.message);
        }
        assert!(Filter::parse(&"x".repeat(TAG_CHARACTERS_MAX + 1)).is_err());
    }

    #[test]
    fn two_tags_with_one_hash_are_told_apart_by_the_message() {
        let stored = |tag: &str| {
            Bytes::from(
                Tagged {
                    tag: tag.to_owned(),
                }
                .encode_to_vec(),
            )
        };
        let filter = Filter::parse("paid").unwrap();
        assert!(filter.matches(&stored("paid")));
        assert!(!filter.matches(&stored("refused")));
    }
}
