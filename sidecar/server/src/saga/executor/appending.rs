//! Events on their way to the log, and what becomes of them.

use outrigger_core::saga::{Input, ledger::Answer};
#[cfg(feature = "simulation")]
use outrigger_log::simulation::{Plant, is_planted};

use super::{
    Executor,
    executor::Done,
    gauges,
    group::About,
    handle::{Failed, Started},
    sagas::{AppendState, Hold, State},
};
use crate::saga::store::{Refused, Unavailable, Why};

/// After so long a saga that can record nothing more is looked at again.
const FULL_MS: u64 = 60_000;

impl Executor {
    /// Sends what has gathered to the log.
    pub(super) fn submit(&mut self) {
        let owner = self.surroundings.owner;
        for number in 0..self.groups.len() {
            let Some(group) = self.groups.get_mut(number) else {
                continue;
            };
            let sagas = &self.sagas;
            while let Some((commands, about)) =
                group.next_batch(owner, &self.options, |hold| sagas.has(hold))
            {
                group.batches += 1;
                gauges::batch(commands.len());
                let group = u32::try_from(number).unwrap_or(u32::MAX);
                let answers = self.store.submit(group, commands);
                self.tasks.spawn(async move {
                    Done::Submitted {
                        group,
                        about,
                        answers: answers.await,
                    }
                });
            }
        }
    }

    pub(super) fn submitted(
        &mut self,
        number: u32,
        about: Vec<About>,
        answers: Result<Vec<Result<Answer, Refused>>, Unavailable>,
    ) {
        if let Some(group) = self.groups.get_mut(number as usize) {
            group.batches = group.batches.saturating_sub(1);
        }
        let mut answers = match answers {
            Ok(answers) => answers.into_iter(),
            Err(unavailable) => {
                gauges::unknown(about.len());
                tracing::debug!(group = number, %unavailable, "nobody knows what was recorded");
                for about in about {
                    self.nobody_knows(about, &unavailable);
                }
                return;
            }
        };
        for about in about {
            match (about, answers.next()) {
                (about, None) => {
                    let reason = "it was not answered".to_owned();
                    self.nobody_knows(about, &Unavailable { reason });
                }
                (About::Begin(hold), Some(answer)) => self.begun(hold, number, answer),
                (About::Start(started), Some(answer)) => {
                    self.beat_soon(number);
                    let _ = started.send(started_by(answer));
                }
                (About::Append(hold), Some(answer)) => self.appended(hold, answer),
            }
        }
    }

    fn nobody_knows(&mut self, about: About, unavailable: &Unavailable) {
        let failed = || Failed::Unavailable(unavailable.clone());
        match about {
            About::Start(started) => {
                let _ = started.send(Err(failed()));
            }
            // Perhaps it is this executor's now.
            About::Begin(hold) => {
                let Some(held) = self.sagas.get(hold) else {
                    return;
                };
                if let Some(asked) = held.awake().and_then(|awake| awake.asked.take()) {
                    let (_, started) = asked;
                    let _ = started.send(Err(failed()));
                }
                held.is_doubtful = true;
                held.state = State::Loading;
                self.want_to_read(hold);
            }
            #[cfg(feature = "simulation")]
            About::Append(hold) if is_planted(Plant::UnknownIsDone) => {
                let sequence = 0;
                self.appended(hold, Ok(Answer::Appended { sequence }));
            }
            #[cfg(test)]
            About::Append(hold)
                if self.planted == Some(super::planted::Planted::TakesUnknownAsDone) =>
            {
                if let Some(awake) = self.sagas.awake(hold)
                    && let Some(append) = awake.append.take()
                {
                    let _ = awake.take_events(append.after, &append.events);
                    self.step(hold, Input::Appended);
                }
            }
            About::Append(hold) => {
                if let Some(awake) = self.sagas.awake(hold)
                    && let Some(append) = &mut awake.append
                {
                    append.state = AppendState::Unknown;
                    self.want_to_read(hold);
                }
            }
        }
    }

    /// The answer to the start of a saga; that to its first events follows.
    fn begun(&mut self, hold: Hold, number: u32, answer: Result<Answer, Refused>) {
        let asked = self.sagas.awake(hold).and_then(|awake| awake.asked.take());
        let Some((asked, started)) = asked else {
            return;
        };
        let is_owner = matches!(&answer, Ok(Answer::Started { epoch, .. }) if *epoch > 0);
        // It was nobody's, whoever has started it, and is this executor's since then.
        if let Some(held) = self.sagas.get(hold)
            && held.is_taken
            && !is_owner
        {
            (held.is_taken, held.state) = (false, State::Loading);
            self.want_to_read(hold);
            match answer {
                Err(refused) if refused.why == Why::Conflict => {
                    self.start_for_others(number, asked, started);
                }
                other => drop(started.send(started_by(other))),
            }
            return;
        }
        match answer {
            Ok(Answer::Started {
                epoch: 1,
                created: true,
            }) => {
                gauges::started();
                let created = true;
                let _ = started.send(Ok(Started { created }));
                // What is due meanwhile has waited for this.
                if self
                    .sagas
                    .awake(hold)
                    .is_some_and(|awake| awake.append.is_none())
                {
                    self.step(hold, Input::Tick);
                    // Somebody did something before the answer was here.
                    if self.sagas.get(hold).is_some_and(|held| held.poked) {
                        self.want_to_read(hold);
                    }
                }
            }
            // It was started here before, and forgotten.
            Ok(Answer::Started {
                epoch,
                created: false,
            }) if epoch > 0 => {
                if let Some(held) = self.sagas.get(hold) {
                    (held.epoch, held.state) = (epoch, State::Loading);
                }
                self.want_to_read(hold);
                let _ = started.send(Ok(Started { created: false }));
            }
            // It was there under another time, which was not asked for.
            Err(refused) if refused.why == Why::Conflict => {
                self.drop_saga(hold);
                self.start_for_others(number, asked, started);
            }
            // Somebody else has it, or will take it. What it does first may have been recorded
            // for them; nobody has called anybody.
            other => {
                self.drop_saga(hold);
                self.beat_soon(number);
                let _ = started.send(started_by(other));
            }
        }
    }

    fn appended(&mut self, hold: Hold, answer: Result<Answer, Refused>) {
        let Some(awake) = self.sagas.awake(hold) else {
            return;
        };
        let Some(append) = awake.append.take() else {
            return;
        };
        let why = match answer {
            Ok(Answer::Appended { .. }) => {
                gauges::appended(append.events.len());
                match awake.take_events(append.after, &append.events) {
                    Ok(()) => self.step(hold, Input::Appended),
                    Err(error) => self.mend(hold, &error),
                }
                if self.sagas.get(hold).is_some_and(|held| held.poked) {
                    self.want_to_read(hold);
                }
                return;
            }
            Ok(other) => {
                self.mend(hold, &format!("events were answered with {other:?}"));
                return;
            }
            Err(refused) => refused,
        };
        gauges::refused(why.why);
        match why.why {
            Why::Stale => {
                let state = AppendState::Stale;
                awake.append = Some(super::sagas::Append { state, ..append });
                self.want_to_read(hold);
            }
            Why::NotOwner | Why::SagaNotFound => self.lose(hold),
            Why::TooManyEvents => {
                if let Some(held) = self.sagas.get(hold) {
                    tracing::error!(saga = %held.id, "{why}");
                    held.state = State::Loading;
                }
                let at_ms = self.now_ms().saturating_add(FULL_MS);
                self.look_at(hold, Some(at_ms));
            }
            _ => self.mend(hold, &why),
        }
    }
}

fn started_by(answer: Result<Answer, Refused>) -> Result<Started, Failed> {
    match answer? {
        Answer::Started { created, .. } => Ok(Started { created }),
        other => Err(super::handle::unexpected(&other)),
    }
}
