//! The checks of participants must find what is wrong with one.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use outrigger_sdk::{
    barrier::{Call, FakeBarrier, Phase},
    testing::{Answer, Broken, Participant, check_saga, check_tcc},
};

const OPENING_BALANCE: i64 = 100;

fn amount(phase: Phase) -> i64 {
    match phase {
        Phase::Action | Phase::Try => -10,
        Phase::Confirm => 0,
        Phase::Undo | Phase::Cancel => 10,
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Mistake {
    Nothing,
    RemembersNothing,
    AnswersDifferently,
    UndoesWhatHasNotHappened,
    LetsALateActionIn,
    ChecksBeforeItWaits,
    RecordsAfterTheEffect,
}

/// A participant that somebody wrote without a barrier.
struct Careless {
    mistake: Mistake,
    balance: Mutex<i64>,
    seen: Mutex<HashSet<(String, Phase)>>,
}

impl Careless {
    fn new(mistake: Mistake) -> Self {
        Self {
            mistake,
            balance: Mutex::new(OPENING_BALANCE),
            seen: Mutex::default(),
        }
    }

    fn has_seen(&self, call: &Call, phase: Phase) -> bool {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.contains(&(call.saga_id().to_owned(), phase))
    }

    fn record(&self, call: &Call, phase: Phase) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.insert((call.saga_id().to_owned(), phase));
    }
}

impl Participant for Careless {
    type State = i64;

    async fn call(&self, call: Call) -> Answer {
        let (mistake, phase) = (self.mistake, call.phase());
        if mistake != Mistake::RemembersNothing && self.has_seen(&call, phase) {
            let differently = mistake == Mistake::AnswersDifferently;
            return Answer::Success(if differently { "again" } else { "" }.into());
        }
        let undone = phase.undoes().filter(|first| !self.has_seen(&call, *first));
        if let Some(first) = undone
            && mistake != Mistake::UndoesWhatHasNotHappened
        {
            self.record(&call, phase);
            if mistake != Mistake::LetsALateActionIn {
                self.record(&call, first);
            }
            return Answer::Success("".into());
        }
        if mistake == Mistake::ChecksBeforeItWaits {
            tokio::task::yield_now().await;
        }
        *self.balance.lock().unwrap_or_else(PoisonError::into_inner) += amount(phase);
        if mistake == Mistake::RecordsAfterTheEffect {
            tokio::task::yield_now().await;
        }
        self.record(&call, phase);
        Answer::Success("".into())
    }

    async fn state(&self) -> i64 {
        *self.balance.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[tokio::test]
async fn every_mistake_is_found() {
    for (mistake, scenario) in [
        (Mistake::RemembersNothing, "action twice"),
        (Mistake::AnswersDifferently, "action twice"),
        (Mistake::UndoesWhatHasNotHappened, "undo before action"),
        (Mistake::LetsALateActionIn, "undo before action"),
        (
            Mistake::ChecksBeforeItWaits,
            "6 times action at once, then undo",
        ),
        (Mistake::RecordsAfterTheEffect, "at once"),
    ] {
        let broken = check_saga(&Careless::new(mistake), "debit").await;
        let found = broken.err().map(|broken| broken.to_string());
        let found = found.unwrap_or_else(|| panic!("{mistake:?} was not found"));
        assert!(found.contains(scenario), "{mistake:?}: {found}");
    }
}

/// Nobody else calls, and still it is there: the caller dies between effect and record.
#[tokio::test]
async fn a_crash_in_the_middle_is_found() {
    struct OneAtATime(Careless, tokio::sync::Mutex<()>);

    impl Participant for OneAtATime {
        type State = i64;

        async fn call(&self, call: Call) -> Answer {
            let _turn = self.1.lock().await;
            self.0.call(call).await
        }

        async fn state(&self) -> i64 {
            self.0.state().await
        }
    }

    let careless = Careless::new(Mistake::RecordsAfterTheEffect);
    let broken = check_saga(
        &OneAtATime(careless, tokio::sync::Mutex::default()),
        "debit",
    )
    .await;
    let found = broken.err().map(|broken| broken.to_string());
    assert!(
        found
            .as_ref()
            .is_some_and(|found| found.contains("dies after 1 polls")),
        "{found:?}"
    );
}

#[tokio::test]
async fn who_makes_no_mistake_passes() -> Result<(), Broken> {
    check_saga(&Careless::new(Mistake::Nothing), "debit").await?;
    check_tcc(&Careless::new(Mistake::Nothing), "debit").await
}

struct WithBarrier(FakeBarrier<i64>);

impl Participant for WithBarrier {
    type State = i64;

    async fn call(&self, call: Call) -> Answer {
        let outcome = self.0.run(&call, async |balance: &mut i64| {
            *balance += amount(call.phase());
            tokio::task::yield_now().await;
            Ok(balance.to_string())
        });
        outcome.await.into()
    }

    async fn state(&self) -> i64 {
        self.0.state().await
    }
}

#[tokio::test]
async fn who_has_a_barrier_passes() -> Result<(), Broken> {
    let participant = WithBarrier(FakeBarrier::new(OPENING_BALANCE));
    check_saga(&participant, "debit").await?;
    check_tcc(&participant, "debit").await
}
