use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::Context as _;
use futures::future::join_all;
use outrigger_sdk::barrier::{
    Call, Error, FakeBarrier, LONGEST_SAGA_DEFAULT, OUTPUT_MAX_BYTES, Outcome, Phase,
    SAGA_ID_MAX_BYTES,
};
use outrigger_sdk::testing::{self, Answer};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};

use super::{Effect, OPENING_BALANCE, Participant, fake};

const CALLERS: usize = 12;
const RACES: usize = 24;
const GIVEN_UP: u64 = 30;
const RANDOM_CALLS: usize = 250;

#[expect(clippy::expect_used, reason = "a part of tests")]
fn call(saga_id: &str, phase: Phase) -> Call {
    Call::new(saga_id, "debit", phase).expect("a valid call")
}

fn done(output: impl ToString) -> Outcome {
    Outcome::Done(output.to_string().into())
}

fn repeated(output: impl ToString) -> Outcome {
    Outcome::Repeated(output.to_string().into())
}

fn refused(repeated: bool) -> Outcome {
    let reason = "overdrawn".into();
    Outcome::Refused { reason, repeated }
}

/// Calls until there is an answer: busy means to come again.
async fn answer(
    participant: &impl Participant,
    call: &Call,
    effect: Effect,
) -> Result<Outcome, Error> {
    loop {
        match participant.call(call, effect).await {
            Err(Error::Busy { .. }) => {}
            answer => return answer,
        }
    }
}

pub(super) async fn a_repeated_call_answers_the_same_and_does_nothing(
    participant: Arc<impl Participant>,
) -> anyhow::Result<()> {
    let action = call("one", Phase::Action);
    assert_eq!(participant.call(&action, Effect::Add(-30)).await?, done(70));
    // The output is that of the first time, whatever happens in between.
    participant
        .call(&call("two", Phase::Action), Effect::Add(-20))
        .await?;
    for attempt in 0..3 {
        let again = action.clone().attempt(attempt);
        assert_eq!(
            participant.call(&again, Effect::Add(-30)).await?,
            repeated(70)
        );
    }
    assert_eq!(participant.balance().await?, 50);
    Ok(())
}

/// The account is empty by then: whoever checks it first refuses what has been done.
pub(super) async fn a_duplicate_is_decided_before_the_business_check(
    participant: Arc<impl Participant>,
) -> anyhow::Result<()> {
    let action = call("one", Phase::Action);
    let all = Effect::Add(-OPENING_BALANCE);
    assert_eq!(participant.call(&action, all).await?, done(0));
    assert_eq!(participant.call(&action, all).await?, repeated(0));

    let undo = call("one", Phase::Undo);
    let back = Effect::Add(OPENING_BALANCE);
    assert_eq!(participant.call(&undo, back).await?, done(OPENING_BALANCE));
    assert_eq!(
        participant.call(&undo, back).await?,
        repeated(OPENING_BALANCE)
    );
    Ok(())
}

pub(super) async fn an_undo_takes_back_once(
    participant: Arc<impl Participant>,
) -> anyhow::Result<()> {
    let (action, undo) = (call("one", Phase::Action), call("one", Phase::Undo));
    participant.call(&action, Effect::Add(-30)).await?;
    assert_eq!(participant.call(&undo, Effect::Add(30)).await?, done(100));
    assert_eq!(
        participant.call(&undo, Effect::Add(30)).await?,
        repeated(100)
    );
    // A duplicate of the action that comes after all is still a duplicate.
    assert_eq!(
        participant.call(&action, Effect::Add(-30)).await?,
        repeated(70)
    );
    assert_eq!(participant.balance().await?, OPENING_BALANCE);
    Ok(())
}

pub(super) async fn an_undo_without_an_action_does_nothing_and_the_action_is_too_late(
    participant: Arc<impl Participant>,
) -> anyhow::Result<()> {
    for (first, second) in [(Phase::Action, Phase::Undo), (Phase::Try, Phase::Cancel)] {
        let (first, second) = (call("one", first), call("one", second));
        let back = Effect::Add(30);
        assert_eq!(participant.call(&second, back).await?, Outcome::NullUndo);
        assert_eq!(participant.call(&second, back).await?, repeated(""));
        for attempt in 0..3 {
            let late = first.clone().attempt(attempt);
            let outcome = participant.call(&late, Effect::Add(-30)).await?;
            assert_eq!(outcome, Outcome::TooLate);
            assert_eq!(outcome.http_status(), 409);
        }
        assert_eq!(participant.call(&second, back).await?, repeated(""));
    }
    assert_eq!(participant.balance().await?, OPENING_BALANCE);
    Ok(())
}

pub(super) async fn a_refusal_is_remembered(
    participant: Arc<impl Participant>,
) -> anyhow::Result<()> {
    for (saga_id, phase) in [("one", Phase::Action), ("two", Phase::Try)] {
        let action = call(saga_id, phase).attempt(2);
        let too_much = Effect::Add(-150);
        assert_eq!(participant.call(&action, too_much).await?, refused(false));
        assert_eq!(participant.balance().await?, OPENING_BALANCE);
        participant
            .call(&call("rich", phase), Effect::Add(100))
            .await?;

        // Now there would be enough, but the saga has heard of the refusal.
        assert_eq!(participant.call(&action, too_much).await?, refused(true));
        let earlier = action.clone().attempt(1);
        assert_eq!(participant.call(&earlier, too_much).await?, refused(true));
        assert_eq!(participant.balance().await?, 200);

        // Somebody who knows of it wants it tried again.
        let later = action.clone().attempt(3);
        let far_too_much = Effect::Add(-1_000);
        assert_eq!(
            participant.call(&later, far_too_much).await?,
            refused(false)
        );
        assert_eq!(participant.call(&later, too_much).await?, refused(true));
        let latest = action.clone().attempt(4);
        assert_eq!(participant.call(&latest, too_much).await?, done(50));
        assert_eq!(participant.call(&action, too_much).await?, repeated(50));
        participant
            .call(&call("poor", phase), Effect::Add(50))
            .await?;
    }
    Ok(())
}

pub(super) async fn a_refusal_does_not_let_the_action_in_after_the_undo(
    participant: Arc<impl Participant>,
) -> anyhow::Result<()> {
    let (action, undo) = (call("one", Phase::Action), call("one", Phase::Undo));
    let too_much = Effect::Add(-150);
    assert_eq!(participant.call(&action, too_much).await?, refused(false));
    assert_eq!(
        participant.call(&undo, Effect::Add(150)).await?,
        Outcome::NullUndo
    );
    let later = action.attempt(9);
    assert_eq!(
        participant.call(&later, Effect::Add(-10)).await?,
        Outcome::TooLate
    );
    assert_eq!(participant.balance().await?, OPENING_BALANCE);
    Ok(())
}

pub(super) async fn a_refused_undo_is_called_again(
    participant: Arc<impl Participant>,
) -> anyhow::Result<()> {
    let (action, undo) = (call("one", Phase::Action), call("one", Phase::Undo));
    participant.call(&action, Effect::Add(30)).await?;
    let too_much = Effect::Add(-150);
    for _ in 0..2 {
        assert_eq!(participant.call(&undo, too_much).await?, refused(false));
    }
    assert_eq!(participant.call(&undo, Effect::Add(-30)).await?, done(100));
    Ok(())
}

pub(super) async fn a_failed_call_leaves_nothing(
    participant: Arc<impl Participant>,
) -> anyhow::Result<()> {
    for phase in [Phase::Action, Phase::Undo, Phase::Try, Phase::Confirm] {
        let call = call("one", phase);
        let failed = participant.call(&call, Effect::AddAndFail(-30)).await;
        assert!(matches!(failed, Err(Error::Failed(_))), "{failed:?}");
        assert_eq!(participant.balance().await?, OPENING_BALANCE);
        assert_eq!(participant.call(&call, Effect::Add(0)).await?, done(100));
    }
    Ok(())
}

pub(super) async fn a_reservation_is_confirmed_or_cancelled_once(
    participant: Arc<impl Participant>,
) -> anyhow::Result<()> {
    for (saga_id, second, amount, left) in [
        ("one", Phase::Confirm, 0, 70),
        ("two", Phase::Cancel, 30, 70),
    ] {
        let (first, second) = (call(saga_id, Phase::Try), call(saga_id, second));
        let reserved = participant.balance().await? - 30;
        assert_eq!(
            participant.call(&first, Effect::Add(-30)).await?,
            done(reserved)
        );
        assert_eq!(
            participant.call(&second, Effect::Add(amount)).await?,
            done(left)
        );
        for _ in 0..2 {
            assert_eq!(
                participant.call(&second, Effect::Add(amount)).await?,
                repeated(left)
            );
            assert_eq!(
                participant.call(&first, Effect::Add(-30)).await?,
                repeated(reserved)
            );
        }
        assert_eq!(participant.balance().await?, left);
    }
    Ok(())
}

pub(super) async fn nothing_is_confirmed_without_a_reservation(
    participant: Arc<impl Participant>,
) -> anyhow::Result<()> {
    let confirm = call("one", Phase::Confirm);
    for _ in 0..2 {
        let error = participant.call(&confirm, Effect::Add(-30)).await.err();
        assert!(
            matches!(error, Some(Error::NothingToConfirm { .. })),
            "{error:?}"
        );
    }
    participant
        .call(&call("one", Phase::Cancel), Effect::Add(30))
        .await?;
    let error = participant.call(&confirm, Effect::Add(-30)).await.err();
    assert!(
        matches!(error, Some(Error::NothingToConfirm { .. })),
        "{error:?}"
    );
    assert_eq!(participant.balance().await?, OPENING_BALANCE);
    Ok(())
}

pub(super) async fn calls_are_apart_by_every_byte(
    participant: Arc<impl Participant>,
) -> anyhow::Result<()> {
    let long = "ö".repeat(127);
    let longest = "ö".repeat(SAGA_ID_MAX_BYTES / 2);
    let last_differs = format!("{}ä", "ö".repeat(SAGA_ID_MAX_BYTES / 2 - 1));
    let steps = [
        "a", "A", "ä", "a ", " a", "a:b", "b", "a%", "{a}", "'a", &long,
    ];
    let mut sagas = steps.to_vec();
    sagas.extend([longest.as_str(), &last_differs]);
    let mut expected = OPENING_BALANCE;
    for saga_id in sagas {
        for step in steps {
            let call = Call::new(saga_id, step, Phase::Action)?;
            expected += 1;
            let outcome = participant.call(&call, Effect::Add(1)).await?;
            assert_eq!(outcome, done(expected), "{call}");
        }
    }
    let call = Call::new("a", "a", Phase::Undo)?;
    assert_eq!(
        participant.call(&call, Effect::Add(-1)).await?,
        done(expected - 1)
    );
    Ok(())
}

pub(super) async fn an_output_has_a_limit(
    participant: Arc<impl Participant>,
) -> anyhow::Result<()> {
    let action = call("one", Phase::Action);
    let outcome = participant
        .call(&action, Effect::Output(OUTPUT_MAX_BYTES))
        .await?;
    assert_eq!(outcome, done("x".repeat(OUTPUT_MAX_BYTES)));
    let outcome = participant.call(&action, Effect::Output(0)).await?;
    assert_eq!(outcome, repeated("x".repeat(OUTPUT_MAX_BYTES)));

    let error = participant
        .call(
            &call("two", Phase::Action),
            Effect::Output(OUTPUT_MAX_BYTES + 1),
        )
        .await
        .err()
        .context("too large an output was taken")?;
    let text = error.to_string();
    assert!(
        text.contains("4194305 bytes, at most 4194304 are allowed"),
        "{text}"
    );
    Ok(())
}

pub(super) async fn a_saga_that_is_too_old_is_refused(
    participant: Arc<impl Participant>,
) -> anyhow::Result<()> {
    let now = SystemTime::now();
    let minute = Duration::from_secs(60);
    let old = call("one", Phase::Undo).saga_started_at(now - LONGEST_SAGA_DEFAULT - minute);
    let error = participant.call(&old, Effect::Add(30)).await.err();
    assert!(matches!(error, Some(Error::SagaTooOld { .. })), "{error:?}");
    let young = old.saga_started_at(now - LONGEST_SAGA_DEFAULT + minute);
    assert_eq!(
        participant.call(&young, Effect::Add(30)).await?,
        Outcome::NullUndo
    );
    Ok(())
}

pub(super) async fn of_identical_calls_at_once_one_runs(
    participant: Arc<impl Participant>,
) -> anyhow::Result<()> {
    let mut expected = OPENING_BALANCE;
    for phase in [Phase::Action, Phase::Undo, Phase::Try, Phase::Confirm] {
        expected += 7;
        let callers = (0..CALLERS).map(|_| {
            let participant = participant.clone();
            tokio::spawn(
                async move { answer(&*participant, &call("one", phase), Effect::Add(7)).await },
            )
        });
        let mut ran = 0;
        for outcome in join_all(callers).await {
            let outcome = outcome??;
            ran += usize::from(outcome == done(expected));
            assert!(
                outcome == done(expected) || outcome == repeated(expected),
                "{phase}: {outcome:?}"
            );
        }
        assert_eq!(ran, 1, "{phase}");
        assert_eq!(participant.balance().await?, expected);
    }
    Ok(())
}

pub(super) async fn action_and_undo_at_once_end_undone(
    participant: Arc<impl Participant>,
) -> anyhow::Result<()> {
    let races = (0..RACES).map(|race| {
        let participant = participant.clone();
        tokio::spawn(async move { one_race(participant, race).await })
    });
    for race in join_all(races).await {
        race??;
    }
    assert_eq!(participant.balance().await?, OPENING_BALANCE);
    Ok(())
}

async fn one_race(participant: Arc<impl Participant>, race: usize) -> anyhow::Result<()> {
    let saga_id = format!("race-{race}");
    let (action, undo) = (call(&saga_id, Phase::Action), call(&saga_id, Phase::Undo));
    let (add, take) = (Effect::Add(5), Effect::Add(-5));
    let (done_or_late, again, undone) = tokio::join!(
        answer(&*participant, &action, add),
        answer(&*participant, &action, add),
        answer(&*participant, &undo, take),
    );
    let (done_or_late, again, undone) = (done_or_late?, again?, undone?);
    let actions = [&done_or_late, &again];
    match undone {
        Outcome::NullUndo => assert_eq!(actions, [&Outcome::TooLate, &Outcome::TooLate]),
        Outcome::Done(_) => {
            let ran = |outcome: &&Outcome| matches!(outcome, Outcome::Done(_));
            assert_eq!(actions.into_iter().filter(ran).count(), 1);
            assert!(!actions.contains(&&Outcome::TooLate));
        }
        other => anyhow::bail!("{other:?}"),
    }
    Ok(())
}

/// The caller's task ends anywhere: before, within or after the transaction.
pub(super) async fn a_call_given_up_anywhere_is_done_once_when_repeated(
    participant: Arc<impl Participant>,
) -> anyhow::Result<()> {
    let action = |n: u64| call(&format!("given-up-{n}"), Phase::Action);
    for n in 0..GIVEN_UP {
        let patience = Duration::from_micros(n * n * 12);
        let action = action(n);
        let given_up = participant.call(&action, Effect::Add(1));
        let _ = tokio::time::timeout(patience, given_up).await;
    }
    for n in 0..GIVEN_UP {
        let outcome = answer(&*participant, &action(n), Effect::Add(1)).await?;
        assert!(
            matches!(outcome, Outcome::Done(_) | Outcome::Repeated(_)),
            "{outcome:?}"
        );
    }
    let expected = OPENING_BALANCE + i64::try_from(GIVEN_UP)?;
    assert_eq!(participant.balance().await?, expected);
    Ok(())
}

/// The account, as an application's own tests would see it.
struct Account<P>(Arc<P>);

impl<P: Participant> testing::Participant for Account<P> {
    type State = i64;

    async fn call(&self, call: Call) -> Answer {
        let effect = match call.phase() {
            Phase::Action | Phase::Try => Effect::Add(-10),
            Phase::Confirm => Effect::Add(0),
            Phase::Undo | Phase::Cancel => Effect::Add(10),
        };
        self.0.call(&call, effect).await.into()
    }

    async fn state(&self) -> i64 {
        self.0.balance().await.unwrap_or(i64::MIN)
    }
}

pub(super) async fn the_checks_for_applications_find_nothing(
    participant: Arc<impl Participant>,
) -> anyhow::Result<()> {
    let account = Account(participant);
    testing::check_saga(&account, "debit").await?;
    testing::check_tcc(&account, "debit").await?;
    Ok(())
}

pub(super) async fn random_calls_are_answered_as_the_fake_answers(
    participant: Arc<impl Participant>,
) -> anyhow::Result<()> {
    let seed: u64 = rand::random();
    let mut random = StdRng::seed_from_u64(seed);
    let model = FakeBarrier::new(OPENING_BALANCE);
    for n in 0..RANDOM_CALLS {
        let saga_id = format!("saga-{}", random.random_range(0..12));
        let phase = *Phase::ALL.choose(&mut random).context("no phases")?;
        let step = if random.random() { "one" } else { "two" };
        let call = Call::new(saga_id, step, phase)?.attempt(random.random_range(0..3));
        let effect = match random.random_range(0..10) {
            0 => Effect::AddAndFail(random.random_range(-50..50)),
            _ => Effect::Add(random.random_range(-100..80)),
        };
        let expected = fake::call(&model, &call, effect).await;
        let outcome = participant.call(&call, effect).await;
        match (expected, outcome) {
            (Ok(expected), Ok(outcome)) => {
                assert_eq!(outcome, expected, "seed {seed}, call {n}: {call}");
            }
            (Err(Error::Failed(_)), Err(Error::Failed(_)))
            | (Err(Error::NothingToConfirm { .. }), Err(Error::NothingToConfirm { .. })) => {}
            (expected, outcome) => {
                anyhow::bail!("seed {seed}, call {n}: {call}: {outcome:?} instead of {expected:?}")
            }
        }
        let (balance, expected) = (participant.balance().await?, model.state().await);
        assert_eq!(balance, expected, "seed {seed}, call {n}: {call}");
    }
    Ok(())
}
