use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use metrics::{counter, gauge, histogram};
use outrigger_core::{
    check_back::{self, Effect, Input, Scheduler},
    half_message::Verdict,
};
use outrigger_log::TransactionId;
use tokio::task::JoinSet;

use super::{
    super::{
        Answer, LastChecks, NotRecorded, Options, TransactionLog, WaitingTransaction,
        checkers::Checkers,
    },
    scan::Scan,
};
use crate::clock::now_ms;

/// Feeds the scheduler and does what it says. Everything slow is a task of its own.
pub(super) struct Driver<L> {
    log: Arc<L>,
    options: Options,
    checkers: Checkers,
    last_checks: LastChecks,
    scheduler: Scheduler,
    scan: Scan,
    scan_at_ms: u64,
    patrol_at_ms: u64,
    /// From the fence, until the verdict is recorded.
    payloads: BTreeMap<TransactionId, Bytes>,
    tasks: JoinSet<Done>,
    effects: Vec<Effect>,
}

/// What a task comes back with.
enum Done {
    Checked(TransactionId, Answer),
    Recorded(TransactionId, Record, Result<(), NotRecorded>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Record {
    Verdict(Verdict),
    Parked,
}

impl<L: TransactionLog> Driver<L> {
    pub(super) fn new(
        log: Arc<L>,
        options: Options,
        checkers: Checkers,
        last_checks: LastChecks,
    ) -> Self {
        Self {
            log,
            checkers,
            last_checks,
            scheduler: Scheduler::new(options.schedule.clone()),
            scan: Scan::new(options.page_transactions_max),
            scan_at_ms: 0,
            patrol_at_ms: 0,
            payloads: BTreeMap::new(),
            tasks: JoinSet::new(),
            effects: Vec::new(),
            options,
        }
    }

    /// Never ends by itself.
    pub(super) async fn run(mut self) {
        loop {
            let pause = self.wake_at_ms().saturating_sub(now_ms());
            tokio::select! {
                Some(done) = self.tasks.join_next() => self.done(done.ok()),
                () = tokio::time::sleep(Duration::from_millis(pause)) => self.tick(),
            }
            while let Some(done) = self.tasks.try_join_next() {
                self.done(done.ok());
            }
            self.carry_out();
            gauge!("outrigger_check_back_tracked").set(self.scheduler.tracked() as f64);
        }
    }

    fn wake_at_ms(&self) -> u64 {
        let scan_at_ms = self.scan_at_ms.min(self.patrol_at_ms);
        let deadline_ms = self.scheduler.next_deadline();
        deadline_ms.map_or(scan_at_ms, |deadline_ms| deadline_ms.min(scan_at_ms))
    }

    fn tick(&mut self) {
        let now_ms = now_ms();
        let prepared_before_ms = now_ms.saturating_sub(self.first_check_ms_min());
        if now_ms >= self.scan_at_ms {
            let (page, more) = self.scan.follow(&*self.log, prepared_before_ms);
            self.scan_at_ms = now_ms
                + if more {
                    0
                } else {
                    self.options.scan_interval_ms
                };
            self.track(page);
        }
        if now_ms >= self.patrol_at_ms {
            let page = self.scan.patrol(&*self.log, prepared_before_ms);
            self.patrol_at_ms = now_ms + self.options.patrol_interval_ms;
            self.track(page);
        }
        self.step(Input::Tick);
    }

    fn first_check_ms_min(&self) -> u64 {
        self.checkers
            .first_check_ms_min(self.options.schedule.first_check_ms)
    }

    fn track(&mut self, page: Vec<WaitingTransaction>) {
        for transaction in page {
            if transaction.parked {
                continue;
            }
            let options = self.checkers.options(&transaction.producer_group);
            let input = Input::Unresolved {
                id: transaction.id.0,
                target: self.checkers.target(&transaction.producer_group),
                prepared_at_ms: transaction.waiting_since_ms,
                first_check_ms: options.first_check_ms,
                park_after_ms: options.park_after_ms,
            };
            self.step(input);
        }
    }

    fn step(&mut self, input: Input) {
        let (now_ms, random) = (now_ms(), rand::random());
        let stepped = self
            .scheduler
            .step(now_ms, random, input, &mut self.effects);
        if let Err(error) = stepped {
            // The patrol names it again.
            tracing::debug!(%error, "no room for another unresolved transaction");
        }
    }

    fn carry_out(&mut self) {
        while !self.effects.is_empty() {
            for effect in std::mem::take(&mut self.effects) {
                match effect {
                    Effect::Check { id, attempt, .. } => self.check(TransactionId(id), attempt),
                    Effect::Resolve { id, verdict } => {
                        self.record(TransactionId(id), Record::Verdict(verdict));
                    }
                    Effect::Park { id } => self.record(TransactionId(id), Record::Parked),
                }
            }
        }
    }

    fn check(&mut self, id: TransactionId, attempt: u32) {
        match self.log.find(id).filter(|found| !found.parked) {
            Some(transaction) => {
                let check = self.checkers.check(&self.log, transaction, attempt);
                self.tasks.spawn(async move {
                    let started = Instant::now();
                    let answer = check.await;
                    histogram!("outrigger_check_back_seconds").record(started.elapsed());
                    Done::Checked(id, answer)
                });
            }
            // The application has resolved it by itself meanwhile, or a person has.
            None => {
                self.settled(id);
                self.answer(id, check_back::Answer::Unknown, "moot");
            }
        }
    }

    fn record(&mut self, id: TransactionId, record: Record) {
        let log = Arc::clone(&self.log);
        let payload = self.payloads.get(&id).cloned();
        self.tasks.spawn(async move {
            let recorded = match record {
                Record::Verdict(verdict) => log.resolve(id, verdict, payload).await,
                Record::Parked => log.park(id).await,
            };
            Done::Recorded(id, record, recorded)
        });
    }

    fn done(&mut self, done: Option<Done>) {
        match done {
            Some(Done::Checked(id, answer)) => self.checked(id, answer),
            Some(Done::Recorded(id, record, result)) => self.recorded(id, record, result),
            // The task panicked. Its check or record times out and is told again.
            None => tracing::error!("a check-back task panicked"),
        }
    }

    fn checked(&mut self, id: TransactionId, answer: Answer) {
        match answer {
            Answer::Commit { payload } => {
                if let Some(payload) = payload {
                    self.payloads.insert(id, payload);
                }
                let answer = check_back::Answer::Definite(Verdict::Commit);
                self.answer(id, answer, "commit");
            }
            Answer::Rollback => {
                let answer = check_back::Answer::Definite(Verdict::Rollback);
                self.answer(id, answer, "rollback");
            }
            Answer::Unknown { why } => {
                self.last_checks.note(id, why.to_string());
                self.answer(id, check_back::Answer::Unknown, "unknown");
            }
            Answer::Unreachable { why } => {
                self.last_checks.note(id, why.to_string());
                self.answer(id, check_back::Answer::Unreachable, "unreachable");
            }
        }
    }

    fn answer(&mut self, id: TransactionId, answer: check_back::Answer, outcome: &'static str) {
        counter!("outrigger_check_back_total", "outcome" => outcome).increment(1);
        self.step(Input::Answer { id: id.0, answer });
    }

    fn recorded(&mut self, id: TransactionId, record: Record, result: Result<(), NotRecorded>) {
        match result {
            Ok(()) => {
                if record == Record::Parked {
                    counter!("outrigger_check_back_parked_total").increment(1);
                    let why = self.last_checks.of(id).unwrap_or_default();
                    tracing::warn!(transaction = %id, why, "parked: a person has to decide");
                }
                self.settled(id);
            }
            Err(NotRecorded::Settled(why)) => {
                tracing::debug!(transaction = %id, why, "settled by somebody else");
                self.settled(id);
            }
            Err(error @ NotRecorded::Contradiction(_)) => {
                counter!("outrigger_check_back_contradictions_total").increment(1);
                tracing::error!(transaction = %id, ?record, %error, "a verdict came too late");
                self.settled(id);
            }
            // Asking again would give the same answer.
            Err(NotRecorded::PayloadMissing(why)) => {
                self.last_checks.note(id, why);
                self.record(id, Record::Parked);
            }
            // The scheduler tells it again.
            Err(NotRecorded::Later(why)) => {
                tracing::debug!(transaction = %id, why, "the log could not record a verdict");
            }
        }
        if record != Record::Parked && self.log.find(id).is_none() {
            self.last_checks.forget(id);
        }
    }

    fn settled(&mut self, id: TransactionId) {
        self.payloads.remove(&id);
        self.step(Input::Settled { id: id.0 });
    }
}
