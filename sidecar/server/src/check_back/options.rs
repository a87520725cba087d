use std::collections::BTreeMap;

use outrigger_core::check_back;

use super::{CallbackOptions, CollectOptions};

/// How check-back works.
#[derive(Clone, Debug)]
pub struct Options {
    /// Producer groups with settings of their own.
    pub groups: BTreeMap<String, GroupOptions>,
    /// All others.
    pub default: GroupOptions,
    /// When to ask.
    pub schedule: check_back::Options,
    /// How to ask applications.
    pub callback: CallbackOptions,
    /// How old fence rows are deleted.
    pub collect: CollectOptions,
    /// How often new unresolved transactions are looked for. Default 100.
    pub scan_interval_ms: u64,
    /// How often one page of all the unresolved transactions is looked through again, for
    /// those that were resumed or had no room before. Default 1,000.
    pub patrol_interval_ms: u64,
    /// Transactions in one page. Default 1,024.
    pub page_transactions_max: usize,
    /// Transactions whose last undecided check is remembered. Default 10,000.
    pub last_checks_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        // A check has its own, shorter limits and says more than that it took too long.
        const CHECK_TIMEOUT_MS: u64 = 20_000;
        Self {
            groups: BTreeMap::new(),
            default: GroupOptions::default(),
            schedule: check_back::Options {
                check_timeout_ms: CHECK_TIMEOUT_MS,
                ..check_back::Options::default()
            },
            callback: CallbackOptions::default(),
            collect: CollectOptions::default(),
            scan_interval_ms: 100,
            patrol_interval_ms: 1_000,
            page_transactions_max: 1_024,
            last_checks_max: 10_000,
        }
    }
}

/// How the transactions of one producer group are checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupOptions {
    /// Who knows how a local transaction ended.
    pub mode: Mode,
    /// From Prepare to the first check; unless set, that of the schedule.
    pub first_check_ms: Option<u64>,
    /// From Prepare until the transaction is parked; unless set, that of the schedule.
    pub park_after_ms: Option<u64>,
}

/// Who knows how a local transaction ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// The application, over its CheckBack stream.
    #[default]
    Callback,
    /// The fence table in the application's database.
    Table {
        /// The database's URL; see [`fence::for_url`](super::fence::for_url).
        database: String,
    },
}
