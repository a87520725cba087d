use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use outrigger_proto::stored::{self, CheckBackQuestion};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::super::Answer;

/// What comes back from a replica about one question.
#[derive(Debug)]
pub(super) enum Reply {
    /// It knows.
    Decided(Answer),
    /// It does not know yet.
    Unsure,
    /// Its stream ended without an answer.
    Lost,
}

/// One connected stream of an application.
pub(super) struct Replica {
    pub(super) id: u64,
    questions: mpsc::Sender<CheckBackQuestion>,
    unanswered: Mutex<BTreeMap<Uuid, mpsc::Sender<Reply>>>,
    unanswered_max: usize,
    silent: AtomicBool,
}

impl Replica {
    /// With the end that its stream takes the questions from.
    pub(super) fn new(id: u64, unanswered_max: usize) -> (Self, mpsc::Receiver<CheckBackQuestion>) {
        let (questions, asked) = mpsc::channel(unanswered_max.max(1));
        let replica = Self {
            id,
            questions,
            unanswered: Mutex::default(),
            unanswered_max,
            silent: AtomicBool::new(false),
        };
        (replica, asked)
    }

    /// Asks, unless the stream is busy or gone; never waits. The question is withdrawn
    /// when the result is dropped.
    pub(super) fn ask(
        self: &Arc<Self>,
        transaction_id: Uuid,
        question: &CheckBackQuestion,
        replies: &mpsc::Sender<Reply>,
    ) -> Option<Asked> {
        {
            let mut unanswered = self.unanswered();
            if unanswered.len() >= self.unanswered_max {
                return None;
            }
            unanswered.insert(transaction_id, replies.clone());
        }
        let asked = Asked {
            replica: Arc::clone(self),
            transaction_id,
        };
        self.questions
            .try_send(question.clone())
            .is_ok()
            .then_some(asked)
    }

    /// Passes an answer on to whoever asked. Late and unasked ones are nobody's.
    pub(super) fn answered(&self, transaction_id: Uuid, answer: stored::CheckBackAnswer) {
        self.silent.store(false, Ordering::Relaxed);
        let Some(asker) = self.unanswered().remove(&transaction_id) else {
            return;
        };
        let reply = match answer.verdict() {
            stored::Verdict::Commit => Reply::Decided(Answer::Commit {
                payload: answer.payload,
            }),
            stored::Verdict::Rollback => Reply::Decided(Answer::Rollback),
            stored::Verdict::Unknown => Reply::Unsure,
        };
        // There is room for a reply of every replica asked.
        let _ = asker.try_send(reply);
    }

    /// The stream has ended: nobody waits for it any longer.
    pub(super) fn lost(&self) {
        for (_, asker) in std::mem::take(&mut *self.unanswered()) {
            let _ = asker.try_send(Reply::Lost);
        }
    }

    /// It left a question unanswered for too long; others are asked first from now on.
    pub(super) fn mark_silent(&self) {
        self.silent.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_silent(&self) -> bool {
        self.silent.load(Ordering::Relaxed)
    }

    fn unanswered(&self) -> MutexGuard<'_, BTreeMap<Uuid, mpsc::Sender<Reply>>> {
        self.unanswered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// A question on its way; withdrawn on drop.
pub(super) struct Asked {
    replica: Arc<Replica>,
    transaction_id: Uuid,
}

impl Asked {
    pub(super) fn replica(&self) -> &Replica {
        &self.replica
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.replica.unanswered().remove(&self.transaction_id);
    }
}
