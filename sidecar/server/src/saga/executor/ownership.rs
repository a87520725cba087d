//! Saying that the executor is alive, and being given sagas.

use std::{sync::Arc, time::Duration};

use outrigger_core::{
    retry::full_jitter,
    saga::ledger::{Answer, Command},
};
use tokio::time::{Instant, timeout};

use super::{
    Executor,
    executor::Done,
    gauges,
    sagas::{Held, State},
};
use crate::saga::store::{Refused, Unavailable};

/// How long giving everything back may take.
const DISOWN_MS_MAX: u64 = 2_000;

impl Executor {
    /// Tells the data groups whose turn it is that this executor is alive.
    pub(super) fn beat(&mut self) {
        let now = Instant::now();
        self.ask_for_more(now);
        for number in 0..self.groups.len() {
            let promised = self.room().min(self.options.take_max as usize);
            let Some(group) = self.groups.get_mut(number) else {
                continue;
            };
            if group.is_beating || group.beat_at > now {
                continue;
            }
            group.is_beating = true;
            #[cfg(test)]
            if self.planted == Some(super::planted::Planted::HearsTooMuch) {
                group.heard = u64::MAX;
            }
            self.promised += promised;
            let command = Command::Own {
                owner: self.surroundings.owner,
                lease_ms: self.options.lease_ms,
                take_max: u32::try_from(promised).unwrap_or(u32::MAX),
                heard: group.heard,
            };
            let group = u32::try_from(number).unwrap_or(u32::MAX);
            let answers = self.store.submit(group, vec![command]);
            self.tasks.spawn(async move {
                Done::Beat {
                    group,
                    sent: now,
                    promised,
                    answers: answers.await,
                }
            });
        }
        if now >= self.gauges_at {
            self.gauges_at = now + gauges::INTERVAL;
            gauges::set(&self.sagas, &self.lanes, self.reads + self.to_read.len());
        }
    }

    /// Where there is more to take, the next beat comes as soon as most of what was taken last has
    /// been read.
    fn ask_for_more(&mut self, now: Instant) {
        let enough = self.options.sagas_max.min(self.options.take_max as usize) / 2;
        if self.to_read.len() > enough || self.room() < enough.max(1) {
            return;
        }
        for group in self.groups.iter_mut().filter(|group| !group.is_beating) {
            if std::mem::take(&mut group.more) {
                group.beat_at = group.beat_at.min(now);
            }
        }
    }

    /// How many sagas more may be taken.
    fn room(&self) -> usize {
        if self.is_draining() {
            return 0;
        }
        let taken = self.sagas.in_memory() + self.promised;
        self.options.sagas_max.saturating_sub(taken)
    }

    pub(super) fn beaten(
        &mut self,
        number: u32,
        sent: Instant,
        promised: usize,
        answers: Result<Vec<Result<Answer, Refused>>, Unavailable>,
    ) {
        self.promised = self.promised.saturating_sub(promised);
        let random = self.chance();
        let Some(group) = self.groups.get_mut(number as usize) else {
            return;
        };
        group.is_beating = false;
        let (base_ms, cap_ms) = (self.options.retry_base_ms, self.options.retry_cap_ms);
        let again_ms = full_jitter(base_ms, cap_ms, u32::MAX, random).max(base_ms);
        let again = Instant::now() + Duration::from_millis(again_ms);
        let interval = Duration::from_millis(self.options.beat_interval_ms);
        let answer = match answers {
            Ok(answers) => answers.into_iter().next(),
            Err(unavailable) => {
                tracing::debug!(group = number, %unavailable, "nobody heard that this executor is alive");
                group.beat_at = again;
                return;
            }
        };
        let (taken, acted_on, more) = match answer {
            Some(Ok(Answer::Owned {
                taken,
                acted_on,
                more,
                told,
                ..
            })) => {
                group.heard = told;
                (taken, acted_on, more)
            }
            other => {
                tracing::warn!(
                    group = number,
                    ?other,
                    "a sign of life was answered with something else"
                );
                group.beat_at = again;
                return;
            }
        };
        let was_away = group.alive_until < Instant::now();
        group.alive_until = sent + Duration::from_millis(self.options.lease_ms);
        group.beat_at = sent + interval;
        group.more = more;
        let held_up = std::mem::take(&mut group.held_up);
        if !taken.is_empty() {
            tracing::debug!(
                group = number,
                sagas = taken.len(),
                more,
                "sagas are taken over"
            );
            gauges::taken(taken.len());
        }
        for held in taken {
            self.take(held.saga.into(), number, held.epoch);
        }
        acted_on.iter().for_each(|saga| self.poke_held(saga));
        if was_away {
            self.doubt(number);
        }
        for lane in held_up {
            self.pump(&lane);
        }
    }

    /// Owns a saga of which nothing is known yet, unless it is one that was started here.
    fn take(&mut self, id: Arc<str>, group: u32, epoch: u64) {
        let known = self.sagas.find(&id).and_then(|hold| self.sagas.get(hold));
        if let Some(held) = known.filter(|held| held.epoch == epoch) {
            // Perhaps it was started before the log knew this executor to be alive, and is its
            // only since now; the answer to the start, which is still to come, does not say so.
            // A read that is under way may not say so either.
            held.is_taken = true;
            held.read_is_old = held.reading;
            return;
        }
        let held = Held::new(id, group, epoch, State::Loading);
        let hold = self.insert(held);
        self.want_to_read(hold);
    }

    /// Nobody heard from this executor for so long that others may have its sagas. Those that
    /// are asleep are read before they go on anyway.
    fn doubt(&mut self, number: u32) {
        for hold in self.sagas.in_memory_of(number) {
            if let Some(held) = self.sagas.get(hold) {
                (held.is_in_doubt, held.poked) = (true, true);
                // What is being read may be from before.
                held.read_is_old |= held.reading;
            }
            self.want_to_read(hold);
        }
    }

    /// The next sign of life is due.
    pub(super) fn beat_soon(&mut self, number: u32) {
        if let Some(group) = self.groups.get_mut(number as usize) {
            group.beat_at = Instant::now();
        }
    }

    /// Gives everything back, as far as it can be told anybody.
    pub(super) async fn disown(&mut self) {
        let command = Command::Own {
            owner: self.surroundings.owner,
            lease_ms: 0,
            take_max: 0,
            heard: 0,
        };
        let groups = 0..u32::try_from(self.groups.len()).unwrap_or(u32::MAX);
        let told = groups.map(|group| self.store.submit(group, vec![command.clone()]));
        let told = futures::future::join_all(told);
        let limit = Duration::from_millis(DISOWN_MS_MAX);
        if timeout(limit, told).await.is_err() {
            tracing::warn!("sagas could not be given back; they are taken over later");
        }
    }
}
