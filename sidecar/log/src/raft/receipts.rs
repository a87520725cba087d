//! Which nodes have which entries in memory, so that sends that ask for it are answered before
//! the disks have synced. Raft itself knows nothing of it: it commits what is synced.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use openraft::async_runtime::WatchReceiver;
use openraft::{EntryPayload, Raft, RaftMetrics};
use tokio::sync::watch;

use super::machine::Machine;
use super::types::{LogId, Membership, NodeId, TypeConfig};
use crate::apply::Apply;
use crate::submit::Received;

type Entry = openraft::alias::EntryOf<TypeConfig>;

/// What the nodes of a group have received. One for each group on each node.
#[derive(Debug)]
pub(crate) struct Receipts {
    /// The last entry that this node has handed to its own log.
    own: watch::Sender<Option<LogId>>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    own: Option<LogId>,
    node_id: Option<NodeId>,
    members: Option<Members>,
    /// What the others have told in the term of `own`.
    others: BTreeMap<NodeId, LogId>,
    /// Entries of this node that are answered when a majority has them, by index.
    waiting: VecDeque<(LogId, Arc<Received>)>,
}

/// The membership that counts: the last one in the log, committed or not.
#[derive(Debug)]
struct Members {
    set_by: Option<LogId>,
    /// Two sets while the membership changes.
    voters: Vec<BTreeSet<NodeId>>,
}

/// What has just been handed to the log of this node.
#[derive(Debug, Default)]
pub(super) struct Appended {
    last: Option<LogId>,
    /// Entries of this node that are to be answered when a majority has them.
    waiting: Vec<(LogId, Arc<Received>)>,
    members: Option<Members>,
}

impl Appended {
    pub(super) fn add(&mut self, entry: &Entry) {
        self.last = Some(entry.log_id);
        match &entry.payload {
            EntryPayload::Normal(proposal) => {
                let received = proposal.received.iter().cloned();
                self.waiting
                    .extend(received.map(|received| (entry.log_id, received)));
            }
            EntryPayload::Membership(membership) => {
                self.members = Some(Members::new(Some(entry.log_id), membership));
            }
            EntryPayload::Blank => {}
        }
    }
}

impl Members {
    fn new(set_by: Option<LogId>, membership: &Membership) -> Self {
        Self {
            set_by,
            voters: membership.get_joint_config().clone(),
        }
    }
}

impl Receipts {
    /// Of a log that ends with this entry.
    pub(super) fn new(own: Option<LogId>) -> Self {
        Self {
            own: watch::Sender::new(own),
            state: Mutex::new(State {
                own,
                ..State::default()
            }),
        }
    }

    /// The last entry that this node has received, and when that changes.
    ///
    /// Two logs that have an entry of the same term and index are equal up to it, so this one
    /// id says all. It says nothing about what is synced.
    pub(crate) fn own(&self) -> watch::Receiver<Option<LogId>> {
        self.own.subscribe()
    }

    /// Entries have been handed to the log of this node.
    pub(super) fn appended(&self, appended: Appended) {
        let Some(last) = appended.last else { return };
        let mut state = self.state();
        state.own = Some(last);
        state.waiting.extend(appended.waiting);
        if appended.members.is_some() {
            state.members = appended.members;
        }
        Self::answer(state);
        self.own.send_replace(Some(last));
    }

    /// One entry without anybody who waits for it.
    #[cfg(test)]
    pub(super) fn appended_for_test(&self, last: LogId) {
        self.appended(Appended {
            last: Some(last),
            ..Appended::default()
        });
    }

    /// True when somebody waits for a majority to have an entry.
    pub(super) fn are_asked_for(&self) -> bool {
        let mut state = self.state();
        let over = |(_, received): &mut (LogId, Arc<Received>)| received.is_settled();
        while state.waiting.pop_front_if(over).is_some() {}
        !state.waiting.is_empty()
    }

    /// The log of this node ends with this entry now.
    pub(super) fn truncated(&self, last: Option<LogId>) {
        let mut state = self.state();
        state.own = last;
        // Which membership holds now is told by the group.
        let index = |id: Option<LogId>| id.map(|id| id.index);
        let is_gone = |members: &mut Members| index(members.set_by) > index(last);
        state.members.take_if(is_gone);
        drop(state);
        self.own.send_replace(last);
    }

    /// Another node has received everything up to this entry.
    pub(crate) fn received(&self, node: NodeId, upto: LogId) {
        let mut state = self.state();
        state.others.insert(node, upto);
        Self::answer(state);
    }

    /// What another node has told counts no more: it may have crashed.
    pub(crate) fn forget(&self, node: NodeId) {
        self.state().others.remove(&node);
    }

    fn tell(&self, now: &RaftMetrics<TypeConfig>) {
        let stored = &now.membership_config;
        self.set_members(now.id, *stored.log_id(), stored.membership());
    }

    /// Whose receipts count, as the group tells it. It may not know yet of what has just been
    /// appended.
    fn set_members(&self, node_id: NodeId, set_by: Option<LogId>, membership: &Membership) {
        let mut state = self.state();
        state.node_id = Some(node_id);
        let index = |id: Option<LogId>| id.map(|id| id.index);
        let known = state.members.as_ref();
        if known.is_none_or(|known| index(known.set_by) <= index(set_by)) {
            state.members = Some(Members::new(set_by, membership));
        }
        Self::answer(state);
    }

    fn answer(mut state: MutexGuard<'_, State>) {
        let mut answered = Vec::new();
        while let Some((log_id, received)) = state.waiting.front() {
            if !received.is_settled() && !state.is_received_by_a_majority(log_id) {
                break;
            }
            answered.extend(state.waiting.pop_front());
        }
        drop(state);
        for (_, received) in answered {
            received.answer();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here can panic half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_received_by_a_majority(&self, log_id: &LogId) -> bool {
        let has = |last: Option<&LogId>| {
            last.is_some_and(|last| {
                last.leader_id == log_id.leader_id && last.index >= log_id.index
            })
        };
        let has_received = |node: &&NodeId| match self.node_id {
            Some(own) if own == **node => has(self.own.as_ref()),
            _ => has(self.others.get(*node)),
        };
        let is_majority = |voters: &BTreeSet<NodeId>| {
            voters.iter().filter(has_received).count() > voters.len() / 2
        };
        let voters = self.members.as_ref().map(|members| &members.voters);
        voters.is_some_and(|voters| !voters.is_empty() && voters.iter().all(is_majority))
    }
}

/// Keeps the members up to date until the group stops. They are known when this returns.
pub(super) fn follow<A: Apply>(
    receipts: Arc<Receipts>,
    raft: &Raft<TypeConfig, Machine<A>>,
) -> impl Future<Output = ()> + use<A> {
    let mut metrics = raft.metrics();
    receipts.tell(&metrics.borrow_and_update());
    async move {
        while metrics.changed().await.is_ok() {
            receipts.tell(&metrics.borrow_and_update());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    fn members(configs: Vec<Vec<NodeId>>) -> Membership {
        let configs = configs
            .into_iter()
            .map(|voters| voters.into_iter().collect());
        let configs: Vec<BTreeSet<NodeId>> = configs.collect();
        let nodes = configs.iter().flatten().map(|id| (*id, Default::default()));
        let nodes: BTreeMap<_, _> = nodes.collect();
        Membership::new(configs, nodes).unwrap()
    }

    fn id(term: u64, index: u64) -> LogId {
        LogId::new_term_index(term, index)
    }

    fn proposed(receipts: &Receipts, at: LogId) -> Arc<Received> {
        let received = Arc::new(Received::nobody());
        receipts.appended(Appended {
            last: Some(at),
            waiting: vec![(at, Arc::clone(&received))],
            members: None,
        });
        received
    }

    #[test]
    fn alone_a_node_answers_when_it_has_handed_the_entry_to_its_log() {
        let receipts = Receipts::new(None);
        receipts.set_members(1, None, &members(vec![vec![1]]));
        assert!(proposed(&receipts, id(1, 1)).is_settled());
    }

    #[test]
    fn nothing_is_answered_while_the_voters_are_not_known() {
        let receipts = Receipts::new(None);
        let received = proposed(&receipts, id(1, 1));
        assert!(!received.is_settled());
        receipts.set_members(1, None, &members(vec![vec![1]]));
        assert!(received.is_settled());
    }

    #[test]
    fn a_majority_is_needed_and_learners_do_not_count() {
        let receipts = Receipts::new(None);
        receipts.set_members(1, None, &members(vec![vec![1, 2, 3, 4, 5]]));
        let received = proposed(&receipts, id(3, 9));
        receipts.received(2, id(3, 9));
        receipts.received(6, id(3, 9));
        receipts.received(7, id(3, 9));
        assert!(!received.is_settled());
        receipts.received(5, id(3, 10));
        assert!(received.is_settled());
    }

    #[test]
    fn a_receipt_counts_for_its_term_and_up_to_its_index_only() {
        let receipts = Receipts::new(None);
        receipts.set_members(1, None, &members(vec![vec![1, 2, 3]]));
        let earlier = proposed(&receipts, id(3, 9));
        let later = proposed(&receipts, id(3, 10));
        receipts.received(2, id(2, 20));
        receipts.received(3, id(4, 20));
        assert!(!earlier.is_settled());
        receipts.received(2, id(3, 9));
        assert!(earlier.is_settled() && !later.is_settled());
        // It may have crashed, and come back without what it had in memory.
        let last = proposed(&receipts, id(3, 11));
        receipts.received(2, id(3, 10));
        receipts.forget(2);
        receipts.received(3, id(3, 10));
        assert!(later.is_settled() && !last.is_settled());
    }

    #[test]
    fn while_the_membership_changes_both_majorities_are_needed() {
        let receipts = Receipts::new(None);
        receipts.set_members(1, None, &members(vec![vec![1, 2, 3], vec![1, 4, 5]]));
        let received = proposed(&receipts, id(1, 5));
        receipts.received(2, id(1, 5));
        receipts.received(3, id(1, 5));
        assert!(!received.is_settled());
        receipts.received(4, id(1, 5));
        assert!(received.is_settled());
    }

    #[test]
    fn what_this_node_has_truncated_it_has_not_received() {
        let receipts = Receipts::new(Some(id(1, 4)));
        receipts.set_members(1, None, &members(vec![vec![1, 2, 3]]));
        let received = proposed(&receipts, id(1, 5));
        receipts.truncated(Some(id(1, 4)));
        receipts.received(2, id(1, 5));
        assert!(!received.is_settled());
        assert_eq!(*receipts.own().borrow(), Some(id(1, 4)));
    }

    #[test]
    fn entries_that_have_ended_do_not_hold_up_the_others() {
        let receipts = Receipts::new(None);
        receipts.set_members(1, None, &members(vec![vec![1, 2, 3]]));
        for index in 1..=100 {
            proposed(&receipts, id(1, index)).answer();
        }
        receipts.received(2, id(1, 1));
        assert!(receipts.state().waiting.is_empty());
    }
}
