use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, ensure};
use futures::future::join_all;
use outrigger::check_back::{Answer, fence::FenceChecker};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use uuid::Uuid;

use super::{Application, PRODUCER_GROUP, Taken};

pub(super) use super::collect::{
    old_rows_go_and_all_others_stay, rows_of_other_data_groups_are_stepped_over,
    rows_of_waiting_transactions_stay_however_old,
    rows_of_waiting_transactions_stay_whatever_the_clocks_say,
};

const SETTLE_ATTEMPTS_MAX: u32 = 100;
const SETTLE_PAUSE_MS: u64 = 20;

fn commit(payload: Option<&'static [u8]>) -> Answer {
    Answer::Commit {
        payload: payload.map(Into::into),
    }
}

async fn check(sidecar: &Arc<dyn FenceChecker>, id: Uuid) -> Answer {
    sidecar.check(id, PRODUCER_GROUP).await
}

/// Asks again until there is a decision, as the scheduler does.
async fn settle(sidecar: &Arc<dyn FenceChecker>, id: Uuid) -> anyhow::Result<Answer> {
    let mut last = None;
    for _ in 0..SETTLE_ATTEMPTS_MAX {
        match check(sidecar, id).await {
            answer @ (Answer::Commit { .. } | Answer::Rollback) => return Ok(answer),
            undecided => last = Some(undecided),
        }
        tokio::time::sleep(Duration::from_millis(SETTLE_PAUSE_MS)).await;
    }
    anyhow::bail!("{id} stays undecided: {last:?}")
}

pub(super) async fn an_absent_row_is_rolled_back_and_stays_so<A: Application>(
    application: A,
) -> anyhow::Result<()> {
    let sidecar = application.sidecar()?;
    let id = Uuid::now_v7();
    for _ in 0..3 {
        assert_eq!(check(&sidecar, id).await, Answer::Rollback);
    }
    assert_eq!(check(&application.sidecar()?, id).await, Answer::Rollback);
    Ok(())
}

pub(super) async fn a_committed_row_commits_with_its_payload<A: Application>(
    application: A,
) -> anyhow::Result<()> {
    let sidecar = application.sidecar()?;
    for payload in [None, Some(b"".as_slice()), Some(b"\x00late body\xff")] {
        let id = Uuid::now_v7();
        let local = application
            .begin(id, payload)
            .await?
            .ok()
            .context("taken")?;
        A::commit(local).await?;
        for _ in 0..3 {
            assert_eq!(check(&sidecar, id).await, commit(payload));
        }
    }
    Ok(())
}

pub(super) async fn a_running_transaction_is_unknown_until_it_ends<A: Application>(
    application: A,
) -> anyhow::Result<()> {
    let sidecar = application.sidecar()?;
    for commits in [true, false] {
        let id = Uuid::now_v7();
        let local = application.begin(id, None).await?.ok().context("taken")?;
        for _ in 0..3 {
            let answer = check(&sidecar, id).await;
            assert!(matches!(answer, Answer::Unknown { .. }), "{answer:?}");
        }
        let expected = if commits {
            A::commit(local).await?;
            commit(None)
        } else {
            A::rollback(local).await?;
            Answer::Rollback
        };
        assert_eq!(settle(&sidecar, id).await?, expected);
    }
    Ok(())
}

pub(super) async fn a_local_transaction_that_rolled_back_is_rolled_back<A: Application>(
    application: A,
) -> anyhow::Result<()> {
    let sidecar = application.sidecar()?;
    let id = Uuid::now_v7();
    let local = application.begin(id, None).await?.ok().context("taken")?;
    A::rollback(local).await?;
    assert_eq!(settle(&sidecar, id).await?, Answer::Rollback);
    Ok(())
}

pub(super) async fn the_application_cannot_insert_after_a_rollback<A: Application>(
    application: A,
) -> anyhow::Result<()> {
    let sidecar = application.sidecar()?;
    let id = Uuid::now_v7();
    assert_eq!(check(&sidecar, id).await, Answer::Rollback);
    let late = application.begin(id, Some(b"late")).await?;
    ensure!(
        matches!(late, Err(Taken)),
        "a transaction began after it was decided as rolled back"
    );
    assert_eq!(check(&sidecar, id).await, Answer::Rollback);
    Ok(())
}

pub(super) async fn two_sidecars_agree<A: Application>(application: A) -> anyhow::Result<()> {
    const TRANSACTIONS: usize = 200;
    let sidecars = [application.sidecar()?, application.sidecar()?];
    for committed in [true, false] {
        let ids: Vec<Uuid> = (0..TRANSACTIONS).map(|_| Uuid::now_v7()).collect();
        if committed {
            for id in &ids {
                A::commit(application.begin(*id, None).await?.ok().context("taken")?).await?;
            }
        }
        let of_one = |sidecar| join_all(ids.iter().map(move |id| settle(sidecar, *id)));
        let (left, right) = futures::join!(of_one(&sidecars[0]), of_one(&sidecars[1]));
        let expected = if committed {
            commit(None)
        } else {
            Answer::Rollback
        };
        for (left, right) in left.into_iter().zip(right) {
            assert_eq!(left?, expected);
            assert_eq!(right?, expected);
        }
    }
    Ok(())
}

pub(super) async fn thousands_at_once<A: Application>(application: A) -> anyhow::Result<()> {
    const TRANSACTIONS: usize = 3_000;
    const COMMITTED: usize = 100;
    let sidecar = application.sidecar()?;
    let ids: Vec<Uuid> = (0..TRANSACTIONS).map(|_| Uuid::now_v7()).collect();
    for id in ids.iter().take(COMMITTED) {
        A::commit(application.begin(*id, None).await?.ok().context("taken")?).await?;
    }
    let answers = join_all(ids.iter().map(|id| check(&sidecar, *id))).await;
    for (index, answer) in answers.into_iter().enumerate() {
        let expected = if index < COMMITTED {
            commit(None)
        } else {
            Answer::Rollback
        };
        assert_eq!(answer, expected);
    }
    Ok(())
}

/// The promise itself, at random moments: delivered if and only if committed.
pub(super) async fn application_and_sidecar_never_both_win<A: Application>(
    application: A,
) -> anyhow::Result<()> {
    const TRANSACTIONS: usize = 300;
    const HELD_MS_MAX: u64 = 20;
    let application = Arc::new(application);
    let sidecar = application.sidecar()?;
    let mut seeds = StdRng::seed_from_u64(7);
    let mut races = Vec::with_capacity(TRANSACTIONS);
    for _ in 0..TRANSACTIONS {
        let (application, sidecar) = (Arc::clone(&application), Arc::clone(&sidecar));
        let mut random = StdRng::seed_from_u64(seeds.random());
        races.push(tokio::spawn(async move {
            let id = Uuid::now_v7();
            let mut pause =
                || tokio::time::sleep(Duration::from_millis(random.random_range(0..HELD_MS_MAX)));
            let (before, held, asked) = (pause(), pause(), pause());
            let local = async {
                before.await;
                match application.begin(id, None).await? {
                    Ok(local) => {
                        held.await;
                        A::commit(local).await.map(|()| true)
                    }
                    Err(Taken) => Ok(false),
                }
            };
            let decision = async {
                asked.await;
                settle(&sidecar, id).await
            };
            let (committed, decision) = futures::join!(local, decision);
            let expected = if committed? {
                commit(None)
            } else {
                Answer::Rollback
            };
            assert_eq!(decision?, expected, "{id}");
            anyhow::Ok(())
        }));
    }
    for race in races {
        race.await??;
    }
    Ok(())
}
