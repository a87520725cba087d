use std::{sync::Arc, time::Duration};

use anyhow::ensure;
use bytes::Bytes;
use futures::future::join_all;
use outrigger::guards::GuardStore;
use outrigger_core::guard::{Input, Mode, Outcome, Record};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};

use super::Backend;

const LONG_MS: u64 = 600_000;
/// Long enough for a few calls to be made within it on a busy machine.
const SHORT_MS: u64 = 300;
const SCOPE: &str = "stock-service";
const KEY: Bytes = Bytes::from_static(b"order-17");

/// One caller's view of one guard.
struct Caller {
    store: Arc<dyn GuardStore>,
    token: &'static str,
    mode: Mode,
    fingerprint: &'static str,
}

impl Caller {
    fn new(backend: &impl Backend, token: &'static str) -> Self {
        Self {
            store: backend.store(),
            token,
            mode: Mode::Record,
            fingerprint: "",
        }
    }

    fn mode(self, mode: Mode) -> Self {
        Self { mode, ..self }
    }

    fn fingerprint(self, fingerprint: &'static str) -> Self {
        Self {
            fingerprint,
            ..self
        }
    }

    async fn call(&self, input: Input) -> anyhow::Result<Outcome> {
        Ok(self.store.apply(SCOPE, KEY, input).await?)
    }

    async fn acquire(&self, lease_ms: u64) -> anyhow::Result<Outcome> {
        let (mode, fingerprint) = (self.mode, self.fingerprint.into());
        let token = self.token.to_owned();
        self.call(Input::Acquire {
            mode,
            token,
            fingerprint,
            lease_ms,
        })
        .await
    }

    async fn extend(&self, lease_ms: u64) -> anyhow::Result<Outcome> {
        let token = self.token.to_owned();
        self.call(Input::Extend { token, lease_ms }).await
    }

    async fn complete(&self, result: &'static str, ttl_ms: u64) -> anyhow::Result<Outcome> {
        let (token, result) = (self.token.to_owned(), result.into());
        self.call(Input::Complete {
            token,
            result,
            ttl_ms,
        })
        .await
    }

    async fn release(&self) -> anyhow::Result<Outcome> {
        let token = self.token.to_owned();
        self.call(Input::Release { token }).await
    }
}

fn acquired(fencing: u64, takeover: bool) -> Outcome {
    Outcome::Acquired { fencing, takeover }
}

fn done(result: &'static str) -> Outcome {
    Outcome::Done {
        result: result.into(),
    }
}

fn busy_at_most(limit_ms: u64, outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Busy { retry_after_ms } if (1..=limit_ms).contains(retry_after_ms))
}

async fn pass(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

pub(super) async fn one_holder_at_a_time(backend: &impl Backend) -> anyhow::Result<()> {
    let (one, two) = (Caller::new(backend, "one"), Caller::new(backend, "two"));
    assert_eq!(one.acquire(LONG_MS).await?, acquired(1, false));
    assert!(busy_at_most(LONG_MS, &two.acquire(LONG_MS).await?));
    assert_eq!(one.acquire(LONG_MS).await?, acquired(1, false));
    assert_eq!(two.release().await?, Outcome::Lost);
    assert_eq!(two.extend(LONG_MS).await?, Outcome::Lost);
    assert_eq!(two.complete("", LONG_MS).await?, Outcome::Lost);
    assert_eq!(one.release().await?, Outcome::Held);
    assert_eq!(one.release().await?, Outcome::Lost);
    // The fencing number is kept.
    assert_eq!(two.acquire(LONG_MS).await?, acquired(2, false));
    Ok(())
}

pub(super) async fn a_completed_guard_answers_with_its_result(
    backend: &impl Backend,
) -> anyhow::Result<()> {
    let (one, two) = (Caller::new(backend, "one"), Caller::new(backend, "two"));
    one.acquire(LONG_MS).await?;
    assert_eq!(one.complete("reserved", LONG_MS).await?, Outcome::Held);
    assert_eq!(one.complete("repeated", LONG_MS).await?, Outcome::Held);
    assert_eq!(one.acquire(LONG_MS).await?, done("reserved"));
    assert_eq!(two.acquire(LONG_MS).await?, done("reserved"));
    assert_eq!(one.extend(LONG_MS).await?, Outcome::Lost);
    assert_eq!(one.release().await?, Outcome::Lost);
    assert_eq!(two.complete("", LONG_MS).await?, Outcome::Lost);
    Ok(())
}

pub(super) async fn a_result_is_forgotten_after_its_ttl(
    backend: &impl Backend,
) -> anyhow::Result<()> {
    let one = Caller::new(backend, "one");
    one.acquire(LONG_MS).await?;
    one.complete("reserved", SHORT_MS).await?;
    pass(SHORT_MS + 50).await;
    assert_eq!(one.acquire(LONG_MS).await?, acquired(2, false));
    Ok(())
}

pub(super) async fn a_guard_whose_deadline_passed_is_taken_over(
    backend: &impl Backend,
) -> anyhow::Result<()> {
    let (one, two) = (Caller::new(backend, "one"), Caller::new(backend, "two"));
    assert_eq!(one.acquire(SHORT_MS).await?, acquired(1, false));
    assert!(busy_at_most(SHORT_MS, &two.acquire(LONG_MS).await?));
    pass(SHORT_MS + 50).await;
    assert_eq!(two.acquire(LONG_MS).await?, acquired(2, true));
    assert_eq!(two.acquire(LONG_MS).await?, acquired(2, true));
    assert_eq!(one.extend(LONG_MS).await?, Outcome::Lost);
    assert_eq!(one.complete("late", LONG_MS).await?, Outcome::Lost);
    assert_eq!(one.release().await?, Outcome::Lost);
    assert!(busy_at_most(LONG_MS, &one.acquire(LONG_MS).await?));
    assert_eq!(two.complete("reserved", LONG_MS).await?, Outcome::Held);
    Ok(())
}

pub(super) async fn a_late_holder_that_nobody_replaced_still_holds(
    backend: &impl Backend,
) -> anyhow::Result<()> {
    let (one, two) = (Caller::new(backend, "one"), Caller::new(backend, "two"));
    one.acquire(SHORT_MS).await?;
    pass(SHORT_MS + 50).await;
    assert_eq!(one.extend(LONG_MS).await?, Outcome::Held);
    assert!(busy_at_most(LONG_MS, &two.acquire(LONG_MS).await?));
    Ok(())
}

pub(super) async fn another_fingerprint_is_a_mismatch(
    backend: &impl Backend,
) -> anyhow::Result<()> {
    let one = Caller::new(backend, "one").fingerprint("\u{0}first");
    let other = Caller::new(backend, "two").fingerprint("other");
    let unsure = Caller::new(backend, "three");
    one.acquire(LONG_MS).await?;
    assert_eq!(other.acquire(LONG_MS).await?, Outcome::Mismatch);
    assert!(busy_at_most(LONG_MS, &unsure.acquire(LONG_MS).await?));
    one.complete("reserved", LONG_MS).await?;
    assert_eq!(other.acquire(LONG_MS).await?, Outcome::Mismatch);
    assert_eq!(unsure.acquire(LONG_MS).await?, done("reserved"));
    Ok(())
}

pub(super) async fn set_nx_remembers_who_holds_the_key_and_no_more(
    backend: &impl Backend,
) -> anyhow::Result<()> {
    let one = Caller::new(backend, "one").mode(Mode::SetNx);
    let two = Caller::new(backend, "two")
        .mode(Mode::SetNx)
        .fingerprint("ignored");
    let is_acquired = |outcome| matches!(outcome, Outcome::Acquired { .. });
    assert!(is_acquired(one.acquire(SHORT_MS).await?));
    assert!(is_acquired(one.acquire(SHORT_MS).await?));
    assert!(busy_at_most(SHORT_MS, &two.acquire(LONG_MS).await?));
    assert_eq!(two.release().await?, Outcome::Lost);
    pass(SHORT_MS + 50).await;
    assert!(is_acquired(two.acquire(LONG_MS).await?));
    assert_eq!(one.release().await?, Outcome::Lost);
    assert_eq!(one.extend(LONG_MS).await?, Outcome::Lost);
    assert_eq!(two.release().await?, Outcome::Held);
    assert!(is_acquired(one.acquire(LONG_MS).await?));
    assert_eq!(one.extend(LONG_MS).await?, Outcome::Held);
    assert_eq!(one.complete("dropped", SHORT_MS).await?, Outcome::Held);
    assert_eq!(one.complete("dropped", SHORT_MS).await?, Outcome::Held);
    assert_eq!(two.acquire(LONG_MS).await?, done(""));
    pass(SHORT_MS + 50).await;
    assert!(is_acquired(two.acquire(LONG_MS).await?));
    Ok(())
}

pub(super) async fn attempts_are_counted(backend: &impl Backend) -> anyhow::Result<()> {
    const CALLS: u64 = 200;
    let one = Caller::new(backend, "one");
    let count = |ttl_ms| one.call(Input::Increment { ttl_ms });
    // The counter has nothing to do with the rest of the guard.
    one.acquire(LONG_MS).await?;
    let mut counts = Vec::new();
    for outcome in join_all((0..CALLS).map(|_| count(LONG_MS))).await {
        match outcome? {
            Outcome::Count(count) => counts.push(count),
            other => anyhow::bail!("{other:?}"),
        }
    }
    counts.sort_unstable();
    assert_eq!(counts, (1..=CALLS).collect::<Vec<_>>());
    assert_eq!(one.extend(LONG_MS).await?, Outcome::Held);
    assert_eq!(count(SHORT_MS).await?, Outcome::Count(CALLS + 1));
    pass(SHORT_MS + 50).await;
    assert_eq!(count(LONG_MS).await?, Outcome::Count(1));
    Ok(())
}

pub(super) async fn every_scope_and_key_is_its_own_guard(
    backend: &impl Backend,
) -> anyhow::Result<()> {
    let store = backend.store();
    let pairs: [(&str, &[u8]); 6] = [
        ("a", b"b"),
        ("a", b""),
        ("ab", b""),
        ("a", b":b"),
        ("a", b"b\x00"),
        ("a", b"\xff\xfe"),
    ];
    for (scope, key) in pairs {
        let acquire = Input::Acquire {
            mode: Mode::Record,
            token: "one".to_owned(),
            fingerprint: Bytes::new(),
            lease_ms: LONG_MS,
        };
        let outcome = store.apply(scope, key.into(), acquire).await?;
        assert_eq!(outcome, acquired(1, false), "{scope:?} {key:?}");
    }
    Ok(())
}

pub(super) async fn of_a_hundred_at_once_one_acquires(
    backend: &impl Backend,
) -> anyhow::Result<()> {
    const CALLERS: usize = 100;
    for mode in [Mode::Record, Mode::SetNx] {
        let store = backend.store();
        let outcomes = join_all((0..CALLERS).map(|caller| {
            let acquire = Input::Acquire {
                mode,
                token: format!("caller-{caller}"),
                fingerprint: Bytes::new(),
                lease_ms: LONG_MS,
            };
            store.apply("race", format!("{mode:?}").into(), acquire)
        }))
        .await;
        let mut holders = 0;
        for outcome in outcomes {
            match outcome? {
                Outcome::Acquired { .. } => holders += 1,
                outcome => assert!(busy_at_most(LONG_MS, &outcome), "{outcome:?}"),
            }
        }
        assert_eq!(holders, 1);
    }
    Ok(())
}

/// Without time passing, every store gives the answers of the core's machine.
pub(super) async fn random_calls_are_answered_as_the_machine_answers(
    backend: &impl Backend,
) -> anyhow::Result<()> {
    const SEEDS: u64 = 20;
    const CALLS: usize = 60;
    let store = backend.store();
    for seed in 0..SEEDS {
        let mut random = StdRng::seed_from_u64(seed);
        let mut machine = Record::default();
        let key = Bytes::from(format!("seed-{seed}"));
        for call in 0..CALLS {
            let input = random_input(&mut random);
            let expected = machine.step(1_000_000, input.clone());
            let outcome = store.apply("random", key.clone(), input.clone()).await?;
            let same = match (&expected, &outcome) {
                (Outcome::Busy { .. }, Outcome::Busy { retry_after_ms }) => {
                    (1..=LONG_MS).contains(retry_after_ms)
                }
                _ => expected == outcome,
            };
            ensure!(
                same,
                "seed {seed}, call {call}: {input:?} gave {outcome:?}, the machine {expected:?}"
            );
        }
    }
    Ok(())
}

fn random_input(random: &mut StdRng) -> Input {
    const TOKENS: [&str; 3] = ["one", "two", "three"];
    const FINGERPRINTS: [&str; 3] = ["", "a", "b"];
    let token = TOKENS.choose(random).copied().unwrap_or_default();
    let token = token.to_owned();
    match random.random_range(0..8) {
        0..=3 => Input::Acquire {
            mode: Mode::Record,
            token,
            fingerprint: FINGERPRINTS
                .choose(random)
                .copied()
                .unwrap_or_default()
                .into(),
            lease_ms: LONG_MS,
        },
        4 => Input::Extend {
            token,
            lease_ms: LONG_MS,
        },
        5 if random.random_bool(0.3) => Input::Complete {
            token,
            result: "result".into(),
            ttl_ms: LONG_MS,
        },
        5 | 6 => Input::Release { token },
        _ => Input::Increment { ttl_ms: LONG_MS },
    }
}
