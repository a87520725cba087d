use std::{collections::BTreeMap, sync::Arc};

use futures::future::{BoxFuture, FutureExt as _};
use uuid::Uuid;

use super::{
    Answer, CallbackHub, Error, GroupOptions, Mode, Options, Question, TransactionLog,
    WaitingTransaction,
    fence::{self, FenceChecker},
};

/// Who is to be asked for each producer group.
pub(super) struct Checkers {
    groups: BTreeMap<String, Group>,
    default: Group,
    callbacks: CallbackHub,
}

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
