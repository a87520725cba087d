use std::sync::Arc;

use bytes::{BufMut as _, Bytes};

use super::{HistoryEntry, history::History};
use crate::{
    saga::{
        Definition, Record,
        codec::{
            DecodeError, check_end, check_version, get_count, get_flag, get_optional_u64,
            put_count, put_option,
        },
        definition::Version,
        event::Event,
        owner::Lease,
        record::Status,
    },
    wire::{get_bytes, get_u64, put_bytes},
};

const WHAT: &str = "saga";
const VERSION: u8 = 1;

/// One saga as the ledger keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    pub(super) record: Record,
    pub(super) epoch: u64,
    /// Which run of which owner it belongs to.
    pub(super) tenure: Option<u64>,
    /// That owner has not said yet that it has heard of it.
    pub(super) noticed: bool,
    pub(super) unseen: Vec<Event>,
    pub(super) history: History,
    pub(super) ended_at_ms: Option<u64>,
    /// Forgotten from then on.
    pub(super) expires_at_ms: Option<u64>,
}

impl Kept {
    pub(super) fn new(record: Record) -> Self {
        Self {
            record,
            epoch: 0,
            tenure: None,
            noticed: false,
            unseen: Vec::new(),
            history: History::default(),
            ended_at_ms: None,
            expires_at_ms: None,
        }
    }

    /// What is recorded.
    #[must_use]
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// When it is forgotten, in milliseconds since the Unix epoch; `u64::MAX` while that is
    /// not known.
    #[must_use]
    pub fn expires_at_ms(&self) -> u64 {
        self.expires_at_ms.unwrap_or(u64::MAX)
    }

    pub(super) fn has_expired(&self, now_ms: u64) -> bool {
        self.expires_at_ms() <= now_ms
    }

    pub(super) fn has_ended(&self) -> bool {
        matches!(self.record.status(), Status::Completed | Status::Undone)
    }

    pub(super) fn id(&self) -> &str {
        &self.record.started().saga
    }

    /// Who may record events; until when the owner counts as alive is not known here.
    pub(super) fn lease(&self) -> Lease {
        Lease {
            epoch: self.epoch,
            until_ms: 0,
        }
    }

    pub(super) fn entries(&self) -> Vec<HistoryEntry> {
        self.history.entries(self.record.sequence())
    }

    /// The binary form, without the definition; equal sagas have equal bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let record = self.record.encode();
        let mut to = Vec::with_capacity(64 + record.len());
        to.put_u8(VERSION);
        put_bytes(&mut to, &record);
        to.put_u64_le(self.epoch);
        put_option(&mut to, self.tenure, |to, number| to.put_u64_le(number));
        to.put_u8(self.noticed.into());
        put_count(&mut to, self.unseen.len());
        self.unseen.iter().for_each(|event| event.put(&mut to));
        self.history.put(&mut to);
        put_option(&mut to, self.ended_at_ms, |to, ms| to.put_u64_le(ms));
        put_option(&mut to, self.expires_at_ms, |to, ms| to.put_u64_le(ms));
        to
    }

    /// Reads the binary form.
    ///
    /// # Errors
    /// When the bytes are damaged, from a newer program, or of a definition that `find` does
    /// not know.
    pub fn decode(
        find: impl FnOnce(&str, Version) -> Option<Arc<Definition>>,
        mut from: Bytes,
    ) -> Result<Self, DecodeError> {
        let from = &mut from;
        check_version(from, WHAT, VERSION)?;
        let record = get_bytes(from)?;
        let start = Record::peek(record.clone())?;
        let definition = find(&start.definition, start.version);
        let definition = definition.ok_or(DecodeError::Damaged {
            what: "the definition of a saga",
        })?;
        let record = Record::decode(definition, record)?;
        let epoch = get_u64(from)?;
        let tenure = get_optional_u64(from, "the owner of a saga")?;
        let noticed = get_flag(from, "what its owner has heard")?;
        let unseen = (0..get_count(from)?).map(|_| Event::get(from));
        let unseen = unseen.collect::<Result<Vec<_>, _>>()?;
        #[cfg(feature = "simulation")]
        let unseen = match crate::simulation::is_planted(crate::simulation::Plant::UnseenForgotten)
        {
            true => Vec::new(),
            false => unseen,
        };
        Ok(Self {
            record,
            epoch,
            tenure,
            noticed,
            unseen,
            history: History::get(from)?,
            ended_at_ms: get_optional_u64(from, "the end of a saga")?,
            expires_at_ms: {
                let expires_at_ms = get_optional_u64(from, "the expiry of a saga")?;
                check_end(from)?;
                expires_at_ms
            },
        })
    }
}
