use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use outrigger_proto::stored::CheckBackQuestion;
use tokio::{sync::mpsc, time::timeout};
use uuid::Uuid;

use super::{
    Answer, CallbackOptions, Question, Undecided,
    replica::{Asked, Replica, Reply},
};

/// One question on its way through the replicas of a group.
pub(super) struct Asking {
    options: CallbackOptions,
    producer_group: String,
    transaction_id: Uuid,
    question: CheckBackQuestion,
    connected: usize,
    left: std::vec::IntoIter<Arc<Replica>>,
    /// Kept until the end: a slow replica's answer is as good as a quick one's.
    asked: Vec<Asked>,
    lost: usize,
    replies: mpsc::Sender<Reply>,
    replied: mpsc::Receiver<Reply>,
}

impl Asking {
    pub(super) fn new(
        options: CallbackOptions,
        producer_group: String,
        question: Question,
        replicas: Vec<Arc<Replica>>,
    ) -> Self {
        let (replies, replied) = mpsc::channel(options.replicas_asked_max.max(1));
        Self {
            options,
            producer_group,
            transaction_id: question.transaction_id,
            question: CheckBackQuestion::from(&question),
            connected: replicas.len(),
            left: replicas.into_iter(),
            asked: Vec::new(),
            lost: 0,
            replies,
            replied,
        }
    }

    pub(super) async fn run(mut self) -> Answer {
        let deadline = Instant::now() + Duration::from_millis(self.options.answer_timeout_ms);
        let patience = Duration::from_millis(self.options.next_replica_after_ms);
        if !self.ask_next() {
            return self.nobody().into();
        }
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match timeout(left.min(patience), self.replied.recv()).await {
                Ok(Some(Reply::Decided(answer))) => return answer,
                Ok(Some(Reply::Unsure)) => {
                    return Undecided::ApplicationUnsure {
                        producer_group: self.producer_group,
                    }
                    .into();
                }
                Ok(Some(Reply::Lost)) | Ok(None) => {
                    self.lost += 1;
                    if !self.ask_next() && self.lost >= self.asked.len() {
                        return Undecided::ConnectionLost {
                            target: self.producer_group,
                        }
                        .into();
                    }
                }
                Err(_elapsed) => {
                    self.mark_silent();
                    if left <= patience {
                        return Undecided::TimedOut {
                            target: self.producer_group,
                            limit_ms: self.options.answer_timeout_ms,
                        }
                        .into();
                    }
                    self.ask_next();
                }
            }
        }
    }

    /// Asks the next replica that takes the question.
    fn ask_next(&mut self) -> bool {
        if self.asked.len() >= self.options.replicas_asked_max.max(1) {
            return false;
        }
        let asked = self
            .left
            .find_map(|replica| replica.ask(self.transaction_id, &self.question, &self.replies));
        let found = asked.is_some();
        self.asked.extend(asked);
        found
    }

    fn mark_silent(&self) {
        for asked in &self.asked {
            asked.replica().mark_silent();
        }
    }

    fn nobody(self) -> Undecided {
        if self.connected == 0 {
            Undecided::NoReplica {
                producer_group: self.producer_group,
            }
        } else {
            Undecided::ReplicasBusy {
                producer_group: self.producer_group,
                replicas: self.connected,
                limit: self.options.unanswered_questions_max,
            }
        }
    }
}
