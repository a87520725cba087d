use std::{collections::BTreeSet, time::Duration};

use outrigger_log::{
    Log, Logs,
    cluster::{Leadership, Members},
};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::Changes;

/// How often it is looked who leads what.
const LOOK_INTERVAL_MS: u64 = 1_000;
/// Nothing is handed over before the cluster was calm for so long: elections, and changes of
/// members, come in swarms.
const CALM_MS_MIN: u64 = 5_000;
/// A node that the leader has not heard of for longer gets nothing.
const HEARD_MS_MAX: u64 = 400;
/// Entries that a node may lack to be handed the lead.
const LAG_ENTRIES_MAX: u64 = 64;
/// The pause after a hand-over that failed; it doubles up to `FAILED_PAUSE_MS_MAX`.
const FAILED_PAUSE_MS_MIN: u64 = 5_000;
const FAILED_PAUSE_MS_MAX: u64 = 300_000;

/// Lets each node lead its share: data group g is led by the g-th voter, modulo their number,
/// when that one can. Every node hands over what it leads for another one, one data group at a
/// time, and only while the cluster is calm. Runs for as long as it is polled.
pub(crate) async fn spread(logs: Logs, changes: Changes) {
    if logs.placement().groups() < 2 {
        return;
    }
    let mut calm_since = Instant::now();
    let mut last: Vec<Seen> = Vec::new();
    let mut pause = Pause::default();
    let mut looks = interval(Duration::from_millis(LOOK_INTERVAL_MS));
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let now: Vec<Seen> = logs.iter().map(Seen::of).collect();
        if is_disturbed(&last, &now) {
            calm_since = Instant::now();
        }
        last = now;
        let calm = Duration::from_millis(CALM_MS_MIN);
        if calm_since.elapsed() < calm || !pause.is_over() {
            continue;
        }
        let Some((group, to)) = logs.iter().find_map(successor) else {
            continue;
        };
        match changes.transfer(group, to).await {
            Ok(leader) => {
                tracing::info!(
                    group,
                    leader,
                    "the lead was handed over to whose turn it is"
                );
                pause = Pause::default();
            }
            Err(error) => {
                tracing::debug!(group, to, %error, "the lead was not handed over");
                pause = pause.longer();
            }
        }
    }
}

/// Who is to lead a data group that this node leads, when that is another one and it can.
fn successor(log: &Log) -> Option<(u32, u64)> {
    if !log.leadership().borrow().is_leading() {
        return None;
    }
    let seen = Seen::of(log);
    let to = seen.preferred().filter(|to| Some(*to) != seen.leader)?;
    let last = log.status().applied_index;
    let replicas = log.replication();
    let replica = replicas.iter().find(|replica| replica.id == to)?;
    let is_heard = replica.last_heard_ms.is_some_and(|ms| ms <= HEARD_MS_MAX);
    let has_caught_up = replica.matched_index + LAG_ENTRIES_MAX >= last;
    (is_heard && has_caught_up && !seen.joint).then_some((seen.group, to))
}

/// What matters of a data group.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    group: u32,
    leader: Option<u64>,
    voters: BTreeSet<u64>,
    joint: bool,
}

impl Seen {
    fn of(log: &Log) -> Self {
        let leader = match &*log.leadership().borrow() {
            Leadership::Leading { .. } => Some(log.status().node_id),
            Leadership::Following { leader, .. } => leader.as_ref().map(|(id, _)| *id),
        };
        let Members { voters, joint, .. } = log.members();
        Self {
            group: log.data_group(),
            leader,
            voters: voters.into_keys().collect(),
            joint,
        }
    }

    /// Who is to lead.
    fn preferred(&self) -> Option<u64> {
        let turn = self.group as usize % self.voters.len().max(1);
        self.voters.iter().nth(turn).copied()
    }
}

/// Whether anything happened that others may follow. A hand-over to whose turn it is is none.
fn is_disturbed(last: &[Seen], now: &[Seen]) -> bool {
    if last.len() != now.len() {
        return true;
    }
    last.iter().zip(now).any(|(last, now)| {
        let is_planned = now.leader == now.preferred();
        let is_moved = last.leader != now.leader && !is_planned;
        now.leader.is_none() || is_moved || last.voters != now.voters || now.joint
    })
}

/// After hand-overs that failed.
#[derive(Default)]
struct Pause {
    ms: u64,
    since: Option<Instant>,
}

impl Pause {
    fn is_over(&self) -> bool {
        let limit = Duration::from_millis(self.ms);
        self.since.is_none_or(|since| since.elapsed() >= limit)
    }

    fn longer(&self) -> Self {
        Self {
            ms: (self.ms * 2).clamp(FAILED_PAUSE_MS_MIN, FAILED_PAUSE_MS_MAX),
            since: Some(Instant::now()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(group: u32, leader: u64, voters: &[u64]) -> Seen {
        Seen {
            group,
            leader: Some(leader).filter(|leader| *leader != 0),
            voters: voters.iter().copied().collect(),
            joint: false,
        }
    }

    #[test]
    fn every_voter_gets_its_turn() {
        let voters = [2, 5, 9];
        let turns: Vec<_> = (0..7)
            .filter_map(|group| seen(group, 2, &voters).preferred())
            .collect();
        assert_eq!(turns, [2, 5, 9, 2, 5, 9, 2]);
        assert_eq!(seen(3, 0, &[]).preferred(), None);
    }

    #[test]
    fn elections_and_changes_of_members_disturb_and_planned_hand_overs_do_not() {
        let voters = [1, 2, 3];
        let calm = [seen(0, 1, &voters), seen(1, 1, &voters)];
        assert!(is_disturbed(&[], &calm));
        assert!(!is_disturbed(&calm, &calm));
        let planned = [seen(0, 1, &voters), seen(1, 2, &voters)];
        assert!(!is_disturbed(&calm, &planned));
        let elected = [seen(0, 1, &voters), seen(1, 3, &voters)];
        assert!(is_disturbed(&calm, &elected));
        let leaderless = [seen(0, 0, &voters), seen(1, 1, &voters)];
        assert!(is_disturbed(&leaderless, &leaderless));
        let fewer = [seen(0, 1, &[1, 2]), seen(1, 1, &voters)];
        assert!(is_disturbed(&calm, &fewer));
    }
}
