use std::{collections::BTreeMap, sync::Arc};

use futures::future::{BoxFuture, FutureExt as _, ready};
use uuid::Uuid;

use super::{
    Answer, CallbackHub, Error, GroupOptions, Mode, Options, Question, TransactionLog, Undecided,
    WaitingTransaction,
    fence::{self, FenceChecker},
};
use crate::clock::now_ms;

/// Who is to be asked for each producer group.
pub(super) struct Checkers {
    groups: BTreeMap<String, Group>,
    default: Group,
    callbacks: CallbackHub,
    fence_retention_ms: u64,
}

/// Clocks of sidecars and databases may differ by so much before a transaction is taken for
/// younger than its fence row.
const CLOCK_MARGIN_MS: u64 = 3_600_000;

struct Group {
    options: GroupOptions,
    /// Groups on one database share its connections, and its breaker.
    fence: Option<(Arc<str>, Arc<dyn FenceChecker>)>,
}

impl Checkers {
    pub(super) fn new(options: &Options, callbacks: CallbackHub) -> Result<Self, Error> {
        let mut databases = BTreeMap::new();
        let mut group = |name: &str, options: &GroupOptions| -> Result<Group, Error> {
            let fence = match &options.mode {
                Mode::Callback => None,
                Mode::Table { database } => {
                    let failed = |source| Error::Database {
                        producer_group: name.to_owned(),
                        source,
                    };
                    Some(shared(&mut databases, database).map_err(failed)?)
                }
            };
            Ok(Group {
                options: options.clone(),
                fence,
            })
        };
        let default = group("(default)", &options.default)?;
        let mut groups = BTreeMap::new();
        for (name, options) in &options.groups {
            groups.insert(name.clone(), group(name, options)?);
        }
        Ok(Self {
            groups,
            default,
            callbacks,
            fence_retention_ms: options.collect.retention_ms,
        })
    }

    /// What fails together with this group's checks.
    pub(super) fn target(&self, producer_group: &str) -> Arc<str> {
        match &self.group(producer_group).fence {
            Some((database, _)) => Arc::clone(database),
            None => format!("group:{producer_group}").into(),
        }
    }

    pub(super) fn options(&self, producer_group: &str) -> &GroupOptions {
        &self.group(producer_group).options
    }

    /// The shortest wait before a first check, where it is shorter than `default_ms`.
    pub(super) fn first_check_ms_min(&self, default_ms: u64) -> u64 {
        let all = self.groups.values().chain([&self.default]);
        all.filter_map(|group| group.options.first_check_ms)
            .fold(default_ms, u64::min)
    }

    pub(super) fn check<L: TransactionLog>(
        &self,
        log: &Arc<L>,
        transaction: WaitingTransaction,
        attempt: u32,
    ) -> BoxFuture<'static, Answer> {
        let transaction_id = Uuid::from_u128(transaction.id.0);
        if let Some((_, fence)) = &self.group(&transaction.producer_group).fence {
            if let Some(too_old) = self.too_old(&transaction) {
                return ready(too_old.into()).boxed();
            }
            let fence = Arc::clone(fence);
            return async move {
                fence
                    .check(transaction_id, &transaction.producer_group)
                    .await
            }
            .boxed();
        }
        let (log, callbacks) = (Arc::clone(log), self.callbacks.clone());
        async move {
            let question = Question {
                transaction_id,
                prepared_at_ms: transaction.prepared_at_ms,
                attempt,
                messages: log.messages(transaction.id).await,
            };
            callbacks.ask(&transaction.producer_group, question).await
        }
        .boxed()
    }

    /// Sidecars with logs of their own do not know what the others wait for, so one of them
    /// may have deleted the row of a transaction that another one has kept undecided.
    fn too_old(&self, transaction: &WaitingTransaction) -> Option<Undecided> {
        let age_ms = now_ms().saturating_sub(transaction.prepared_at_ms);
        let retention_ms = self.fence_retention_ms;
        (age_ms >= retention_ms.saturating_sub(CLOCK_MARGIN_MS)).then_some(
            Undecided::OlderThanFence {
                age_ms,
                retention_ms,
            },
        )
    }

    /// Checks a group against a fence that is there already.
    #[cfg(test)]
    pub(super) fn set_fence(&mut self, group: &str, target: &str, fence: Arc<dyn FenceChecker>) {
        let group = self.groups.entry(group.to_owned()).or_insert(Group {
            options: GroupOptions::default(),
            fence: None,
        });
        group.fence = Some((target.into(), fence));
    }

    fn group(&self, producer_group: &str) -> &Group {
        self.groups.get(producer_group).unwrap_or(&self.default)
    }
}

type Databases = BTreeMap<String, (Arc<str>, Arc<dyn FenceChecker>)>;

fn shared(
    databases: &mut Databases,
    url: &str,
) -> Result<(Arc<str>, Arc<dyn FenceChecker>), fence::UrlError> {
    if let Some(known) = databases.get(url) {
        return Ok(known.clone());
    }
    // Not the URL, which may have a password in it.
    let target = format!("database:{}", databases.len()).into();
    let made = (target, fence::for_url(url)?);
    databases.insert(url.to_owned(), made.clone());
    Ok(made)
}

#[cfg(test)]
mod tests {
    use outrigger_log::TransactionId;

    use super::*;
    use crate::check_back::CallbackOptions;

    const HOUR_MS: u64 = 3_600_000;

    #[test]
    fn what_is_as_old_as_its_fence_row_may_be_is_not_decided_by_its_absence() {
        let hub = CallbackHub::new(CallbackOptions::default());
        let options = Options::default();
        let checkers = Checkers::new(&options, hub).expect("no database to refuse");
        let prepared = |age_ms: u64| WaitingTransaction {
            sequence: 1,
            id: TransactionId(1),
            producer_group: "orders".into(),
            prepared_at_ms: now_ms() - age_ms,
            waiting_since_ms: now_ms() - age_ms,
            parked: false,
        };
        let retention_ms = options.collect.retention_ms;
        assert_eq!(
            checkers.too_old(&prepared(retention_ms - 2 * HOUR_MS)),
            None
        );
        let why = checkers.too_old(&prepared(retention_ms));
        assert!(
            matches!(why, Some(Undecided::OlderThanFence { .. })),
            "{why:?}"
        );
    }
}
