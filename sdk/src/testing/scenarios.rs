use std::time::Duration;

use futures::future::join_all;

use super::{Answer, Broken, Participant, crash::crash_after};
use crate::barrier::{Call, Phase};

/// Identical calls at once.
const CALLERS: usize = 6;
/// How often an action races against its undo.
const RACES: u32 = 10;
/// Callers die after 1, 2, … polls, until one gets its answer before that, or until so many.
const CRASHES_MAX: u32 = 60;
/// Calls until one has an answer that is not unknown.
const SETTLE_CALLS_MAX: u32 = 200;
/// Between two of them, in milliseconds.
const SETTLE_WAIT_MS: u64 = 5;

/// Checks the action and the undo of a step. Each scenario is a saga of its own, in which the
/// action must be possible, and ends undone, so the state is in the end what it was in the
/// beginning.
///
/// # Errors
///
/// The first promise that is not kept.
pub async fn check_saga<P: Participant>(participant: &P, step: &str) -> Result<(), Broken> {
    let check = Check::new(participant, step, Phase::Action, Phase::Undo);
    check.run().await
}

/// Checks try, confirm and cancel of a step: as [`check_saga`] does for try and cancel, then
/// that a repeated confirm answers the same and changes nothing. Two reservations stay
/// confirmed. Whether a confirm does the right thing once is for the application to compare.
///
/// # Errors
///
/// The first promise that is not kept.
pub async fn check_tcc<P: Participant>(participant: &P, step: &str) -> Result<(), Broken> {
    let check = Check::new(participant, step, Phase::Try, Phase::Cancel);
    check.run().await?;
    check.confirmed_again().await?;
    check.confirmed_at_once().await
}

struct Check<'a, P> {
    participant: &'a P,
    step: &'a str,
    first: Phase,
    undo: Phase,
    /// Keeps the sagas of two checks apart.
    id: String,
}

impl<'a, P: Participant> Check<'a, P> {
    fn new(participant: &'a P, step: &'a str, first: Phase, undo: Phase) -> Self {
        let id = crate::message::new_id().to_string();
        Self {
            participant,
            step,
            first,
            undo,
            id,
        }
    }

    async fn run(&self) -> Result<(), Broken> {
        self.repeated().await?;
        self.undone_before().await?;
        self.at_once().await?;
        self.undone_at_once().await?;
        self.raced().await?;
        self.crashed().await
    }

    async fn repeated(&self) -> Result<(), Broken> {
        let before = self.participant.state().await;
        let (first, undo) = self.calls("repeated")?;
        let scenario = format!("{} twice", self.first);
        let output = self.succeeds(&scenario, &first).await?;
        let after = self.participant.state().await;
        for attempt in 2..4 {
            self.answers(&scenario, &first.clone().attempt(attempt), &output)
                .await?;
            self.state_is(&scenario, &after).await?;
        }
        let scenario = format!("{}, then {} twice", self.first, self.undo);
        for attempt in 1..4 {
            self.succeeds(&scenario, &undo.clone().attempt(attempt))
                .await?;
            self.state_is(&scenario, &before).await?;
        }
        let scenario = format!("{0} after {0} and {1}", self.first, self.undo);
        self.settled(&first).await;
        self.state_is(&scenario, &before).await
    }

    async fn undone_before(&self) -> Result<(), Broken> {
        let before = self.participant.state().await;
        let (first, undo) = self.calls("undone-before")?;
        let scenario = format!("{} before {}", self.undo, self.first);
        for attempt in 1..3 {
            self.succeeds(&scenario, &undo.clone().attempt(attempt))
                .await?;
            self.state_is(&scenario, &before).await?;
            self.settled(&first.clone().attempt(attempt)).await;
            self.state_is(&scenario, &before).await?;
        }
        Ok(())
    }

    async fn at_once(&self) -> Result<(), Broken> {
        let before = self.participant.state().await;
        let (first, undo) = self.calls("at-once")?;
        let scenario = format!("{CALLERS} times {} at once", self.first);
        let answers = join_all((0..CALLERS).map(|_| self.succeeds(&scenario, &first))).await;
        let mut outputs = answers.into_iter().collect::<Result<Vec<_>, _>>()?;
        if let Some(output) = outputs.pop()
            && let Some(other) = outputs.into_iter().find(|other| *other != output)
        {
            return Err(self.answer(&scenario, &first, format!("{output:?}"), other));
        }
        let scenario = format!("{scenario}, then {}", self.undo);
        self.succeeds(&scenario, &undo).await?;
        self.state_is(&scenario, &before).await
    }

    async fn undone_at_once(&self) -> Result<(), Broken> {
        let before = self.participant.state().await;
        let (first, undo) = self.calls("undone-at-once")?;
        let scenario = format!("{}, then {CALLERS} times {} at once", self.first, self.undo);
        self.succeeds(&scenario, &first).await?;
        let answers = join_all((0..CALLERS).map(|_| self.succeeds(&scenario, &undo))).await;
        answers.into_iter().collect::<Result<Vec<_>, _>>()?;
        self.state_is(&scenario, &before).await
    }

    async fn raced(&self) -> Result<(), Broken> {
        let scenario = format!("{} and {} at once", self.first, self.undo);
        for race in 0..RACES {
            let before = self.participant.state().await;
            let (first, undo) = self.calls(&format!("raced-{race}"))?;
            // Each of them is first in half of the races.
            if race % 2 == 0 {
                let both = (self.settled(&first), self.settled(&undo));
                futures::future::join(both.0, both.1).await;
            } else {
                let both = (self.settled(&undo), self.settled(&first));
                futures::future::join(both.0, both.1).await;
            }
            self.succeeds(&scenario, &undo).await?;
            self.state_is(&scenario, &before).await?;
            self.settled(&first).await;
            self.state_is(&scenario, &before).await?;
        }
        Ok(())
    }

    async fn crashed(&self) -> Result<(), Broken> {
        for polls in 1..=CRASHES_MAX {
            let before = self.participant.state().await;

            let scenario = format!("{} dies after {polls} polls", self.first);
            let (first, undo) = self.calls(&format!("crashed-{polls}"))?;
            let answered = crash_after(polls, self.participant.call(first.clone())).await;
            self.succeeds(&scenario, &first).await?;
            self.succeeds(&scenario, &undo).await?;
            self.state_is(&scenario, &before).await?;

            let scenario = format!("{scenario}, then {}", self.undo);
            let (first, undo) = self.calls(&format!("crashed-undone-{polls}"))?;
            let _ = crash_after(polls, self.participant.call(first.clone())).await;
            self.succeeds(&scenario, &undo).await?;
            self.state_is(&scenario, &before).await?;
            self.settled(&first).await;
            self.state_is(&scenario, &before).await?;

            let scenario = format!("{} dies after {polls} polls", self.undo);
            let (first, undo) = self.calls(&format!("undo-crashed-{polls}"))?;
            self.succeeds(&scenario, &first).await?;
            let undone = crash_after(polls, self.participant.call(undo.clone())).await;
            self.succeeds(&scenario, &undo).await?;
            self.state_is(&scenario, &before).await?;

            if answered.is_some() && undone.is_some() {
                break;
            }
        }
        Ok(())
    }

    async fn confirmed_again(&self) -> Result<(), Broken> {
        let (first, _) = self.calls("confirmed")?;
        let confirm = first.clone().with_phase(Phase::Confirm);
        let scenario = "confirm twice";
        self.succeeds(scenario, &first).await?;
        let output = self.succeeds(scenario, &confirm).await?;
        let after = self.participant.state().await;
        for attempt in 2..4 {
            let again = confirm.clone().attempt(attempt);
            self.answers(scenario, &again, &output).await?;
            self.state_is(scenario, &after).await?;
        }
        self.settled(&first).await;
        self.state_is("try after confirm", &after).await
    }

    async fn confirmed_at_once(&self) -> Result<(), Broken> {
        let (first, _) = self.calls("confirmed-at-once")?;
        let confirm = first.clone().with_phase(Phase::Confirm);
        let scenario = format!("{CALLERS} times confirm at once");
        self.succeeds(&scenario, &first).await?;
        let answers = join_all((0..CALLERS).map(|_| self.succeeds(&scenario, &confirm))).await;
        for answer in answers {
            let output = answer?;
            self.answers(&scenario, &confirm, &output).await?;
        }
        Ok(())
    }

    /// The calls of a saga of its own.
    fn calls(&self, scenario: &str) -> Result<(Call, Call), Broken> {
        let saga_id = format!("{}-{scenario}", self.id);
        let first = Call::new(saga_id, self.step, self.first)?.attempt(1);
        let undo = first.clone().with_phase(self.undo);
        Ok((first, undo))
    }

    /// Calls until the answer is not unknown, as a saga does.
    async fn settled(&self, call: &Call) -> Answer {
        let mut answer = self.participant.call(call.clone()).await;
        for _ in 1..SETTLE_CALLS_MAX {
            if !matches!(answer, Answer::Unknown(_)) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(SETTLE_WAIT_MS)).await;
            answer = self.participant.call(call.clone()).await;
        }
        answer
    }

    async fn succeeds(&self, scenario: &str, call: &Call) -> Result<Answer, Broken> {
        match self.settled(call).await {
            answer @ Answer::Success(_) => Ok(answer),
            other => Err(self.answer(scenario, call, "success".to_owned(), other)),
        }
    }

    async fn answers(&self, scenario: &str, call: &Call, expected: &Answer) -> Result<(), Broken> {
        let found = self.settled(call).await;
        if found == *expected {
            return Ok(());
        }
        Err(self.answer(scenario, call, format!("{expected:?} as before"), found))
    }

    fn answer(&self, scenario: &str, call: &Call, expected: String, found: Answer) -> Broken {
        Broken::Answer {
            scenario: scenario.to_owned(),
            call: call.to_string(),
            expected,
            found,
        }
    }

    async fn state_is(&self, scenario: &str, expected: &P::State) -> Result<(), Broken> {
        let found = self.participant.state().await;
        if found == *expected {
            return Ok(());
        }
        Err(Broken::State {
            scenario: scenario.to_owned(),
            expected: format!("{expected:?}"),
            found: format!("{found:?}"),
        })
    }
}
