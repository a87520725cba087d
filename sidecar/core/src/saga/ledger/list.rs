use std::{ops::Bound, sync::Arc};

use bytes::Bytes;

use super::{Kept, Ledger, ended::Layer};
use crate::{
    limits::SAGA_EXAMINED_COUNT_MAX,
    saga::{
        Record,
        codec::DecodeError,
        record::{Stage, Status},
    },
};

/// Which sagas are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of this definition; nothing: of all.
    pub definition: Option<String>,
    /// With one of these; empty: with any.
    pub kinds: Vec<Kind>,
    /// Only with a step that waits for a person.
    pub stuck: bool,
}

/// How far a saga is, as it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Actions, or tries.
    Running,
    /// TCC: confirms.
    Confirming,
    /// Undos, or cancels.
    Undoing,
    /// Set aside.
    Parked,
    /// Every step has succeeded.
    Completed,
    /// Everything is undone.
    Undone,
}

/// Some of the sagas that were asked for, in the order of their ids.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// The sagas.
    pub sagas: Vec<Record>,
    /// After which id to go on; nothing: there are no more. There may be more even if this
    /// page has none.
    pub next: Option<String>,
}

impl Kind {
    /// The kind of a saga with this status.
    #[must_use]
    pub fn of(status: Status) -> Self {
        match status {
            Status::Working(Stage::Forward) => Self::Running,
            Status::Working(Stage::Confirm) => Self::Confirming,
            Status::Working(Stage::Undo) => Self::Undoing,
            Status::Parked { .. } => Self::Parked,
            Status::Completed => Self::Completed,
            Status::Undone => Self::Undone,
        }
    }

    /// It has not ended.
    #[must_use]
    pub fn is_active(self) -> bool {
        match self {
            Self::Running | Self::Confirming | Self::Undoing | Self::Parked => true,
            Self::Completed | Self::Undone => false,
        }
    }
}

impl Filter {
    /// Whether a saga is wanted.
    #[must_use]
    pub fn admits(&self, record: &Record) -> bool {
        let definition = self.definition.as_deref();
        definition.is_none_or(|name| name == record.definition().name())
            && (self.kinds.is_empty() || self.kinds.contains(&Kind::of(record.status())))
            && (!self.stuck || record.stuck().next().is_some())
    }

    /// Sagas that have ended may be among those that are wanted.
    #[must_use]
    pub fn admits_ended(&self) -> bool {
        !self.stuck && (self.kinds.is_empty() || self.kinds.iter().any(|kind| !kind.is_active()))
    }
}

impl Ledger {
    /// At most `limit` sagas after an id, with everything in memory.
    #[must_use]
    pub fn list(&self, now_ms: u64, filter: &Filter, after: &str, limit: usize) -> Page {
        let nothing = std::iter::empty::<Result<_, DecodeError>>();
        // There is nothing to be read that could be damaged.
        let listed = self.list_with(now_ms, filter, after, limit, nothing);
        listed.unwrap_or_default()
    }

    /// At most `limit` sagas after an id. It looks at no more than
    /// [`SAGA_EXAMINED_COUNT_MAX`] of them. `on_disk` are the ended ones on disk after that
    /// id, in order, with [`Kept::encode`] of each.
    ///
    /// # Errors
    /// When `on_disk` fails, or what it gives cannot be read.
    pub fn list_with<E: From<DecodeError>>(
        &self,
        now_ms: u64,
        filter: &Filter,
        after: &str,
        limit: usize,
        on_disk: impl Iterator<Item = Result<(String, Bytes), E>>,
    ) -> Result<Page, E> {
        let from = (Bound::Excluded(after), Bound::Unbounded);
        let active = self.active.range::<str, _>(from);
        let mut active = active.map(|(id, active)| (id, &active.kept)).peekable();
        let [current, flushing] = self.ended.layers();
        let mut current = after_id(current, from).peekable();
        let mut flushing = after_id(flushing, from).peekable();
        let mut on_disk = on_disk.peekable();
        let mut page = Page::default();
        for _ in 0..SAGA_EXAMINED_COUNT_MAX {
            if page.sagas.len() >= limit {
                return Ok(page);
            }
            if let Some(Err(_)) = on_disk.peek() {
                on_disk.next().transpose()?;
            }
            let in_memory = [active.peek(), current.peek(), flushing.peek()];
            let first = in_memory.into_iter().flatten().map(|(id, _)| &***id);
            let disk = on_disk.peek().and_then(|found| found.as_ref().ok());
            let Some(id) = first.chain(disk.map(|(id, _)| id.as_str())).min() else {
                page.next = None;
                return Ok(page);
            };
            let id = id.to_owned();
            // The same saga may be in several places; the first of these is right.
            let found = [
                active.next_if(|(next, _)| ***next == id),
                current.next_if(|(next, _)| ***next == id),
                flushing.next_if(|(next, _)| ***next == id),
            ];
            let stored = on_disk.next_if(|next| next.as_ref().is_ok_and(|(next, _)| *next == id));
            let kept = match (found.into_iter().flatten().next(), stored) {
                (Some((_, kept)), _) => Arc::clone(kept),
                (None, Some(stored)) => Arc::new(self.decode(stored?.1)?),
                (None, None) => return Ok(page),
            };
            if !kept.has_expired(now_ms) && filter.admits(&kept.record) {
                page.sagas.push(kept.record.clone());
            }
            page.next = Some(id);
        }
        Ok(page)
    }
}

fn after_id<'a>(
    layer: Option<&'a Layer>,
    from: (Bound<&str>, Bound<&str>),
) -> impl Iterator<Item = (&'a Arc<str>, &'a Arc<Kept>)> {
    layer
        .into_iter()
        .flat_map(move |layer| layer.range::<str, _>(from))
}
