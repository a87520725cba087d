use std::{pin::pin, time::Duration};

use futures::future::select_all;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::Readiness;

/// Without a leader of a data group for so long a process is not ready. Elections take less.
const LEADERLESS_MS_MAX: u64 = 2_000;

/// Opens the door while every data group has a leader, as `has_leader` says of what is known of
/// it, and closes it when one has had none for longer than an election takes.
pub(crate) async fn be_ready<T>(
    readiness: Readiness,
    mut groups: Vec<watch::Receiver<T>>,
    has_leader: impl Fn(&T) -> bool,
    problem: &str,
) {
    let mut is_ready = false;
    // Since when each one has had none. Elections without an end are no news that this begins
    // anew with.
    let mut leaderless: Vec<Option<Instant>> = vec![None; groups.len()];
    loop {
        for (known, since) in groups.iter_mut().zip(&mut leaderless) {
            *since = match has_leader(&known.borrow_and_update()) {
                true => None,
                false => Some(since.unwrap_or_else(Instant::now)),
            };
        }
        let first = leaderless.iter().flatten().min().copied();
        if first.is_none() {
            readiness.accept();
            is_ready = true;
        }
        let limit = Duration::from_millis(LEADERLESS_MS_MAX);
        let late_at = first.unwrap_or_else(Instant::now) + limit;
        let several = groups.len() > 1;
        let changes = groups.iter_mut().map(|known| Box::pin(known.changed()));
        let mut change = pin!(select_all(changes));
        let is_late = tokio::select! {
            (changed, ..) = &mut change => match changed {
                Ok(()) => false,
                Err(_) => return,
            },
            () = sleep_until(late_at), if is_ready && first.is_some() => true,
        };
        if is_late {
            let lacking = leaderless.iter().enumerate();
            let lacking = lacking.filter(|(_, since)| since.is_some());
            let lacking: Vec<_> = lacking.map(|(group, _)| group.to_string()).collect();
            let of = match several {
                true => format!(" of data group {}", lacking.join(", ")),
                false => String::new(),
            };
            readiness.refuse(&format!("no leader{of} {problem}"));
            is_ready = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_process_is_ready_while_every_data_group_has_a_leader() {
        let readiness = Readiness::default();
        let (leaders, groups): (Vec<_>, Vec<_>) = (0..3).map(|_| watch::channel(false)).unzip();
        let (door, problem) = (readiness.clone(), "can be reached");
        tokio::spawn(be_ready(door, groups, |leads| *leads, problem));
        let settle = async || tokio::time::sleep(Duration::from_millis(20)).await;
        for leader in &leaders[..2] {
            leader.send_replace(true);
            settle().await;
            assert!(!readiness.is_ready());
        }
        leaders[2].send_replace(true);
        let opened = timeout(Duration::from_secs(30), readiness.accepted()).await;
        opened.expect("it opens");
        leaders[1].send_replace(false);
        let closed = async {
            while readiness.is_ready() {
                settle().await;
            }
        };
        let closed = timeout(Duration::from_secs(30), closed).await;
        closed.expect("it closes");
        let why = readiness.get().unwrap_err();
        assert_eq!(why, "no leader of data group 1 can be reached");
        leaders[1].send_replace(true);
        let opened = timeout(Duration::from_secs(30), readiness.accepted()).await;
        opened.expect("it opens");
    }
}
