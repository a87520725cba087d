use std::time::Duration;

use futures::{Stream, StreamExt as _, future::join_all};
use outrigger_proto::stored::{
    CheckBackAnswer, CheckBackQuestion, CheckBackRequest, CheckBackResponse, Verdict,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use uuid::Uuid;

use super::{CallbackHub, CallbackOptions, Question};
use crate::check_back::{Answer, Undecided};

const GROUP: &str = "order-service";

/// An application's end of a stream.
struct Application {
    requests: mpsc::Sender<Result<CheckBackRequest, Status>>,
    questions:
        std::pin::Pin<Box<dyn Stream<Item = Result<CheckBackResponse, Status>> + Send + Sync>>,
}

impl Application {
    async fn connect(hub: &CallbackHub, group: &str) -> Self {
        let (requests, received) = mpsc::channel(1_024);
        let register = CheckBackRequest {
            producer_group: group.to_owned(),
            answers: Vec::new(),
        };
        requests.send(Ok(register)).await.unwrap();
        let questions = hub.connect(ReceiverStream::new(received)).await.unwrap();
        Self {
            requests,
            questions: Box::pin(questions),
        }
    }

    async fn questions(&mut self) -> Option<Vec<CheckBackQuestion>> {
        Some(self.questions.next().await?.unwrap().questions)
    }

    async fn answer(&self, question: &CheckBackQuestion, verdict: Verdict, payload: Option<&str>) {
        let answer = CheckBackAnswer {
            transaction_id: question.transaction_id.clone(),
            verdict: verdict.into(),
            payload: payload.map(|payload| payload.to_owned().into()),
        };
        let request = CheckBackRequest {
            producer_group: String::new(),
            answers: vec![answer],
        };
        let _ = self.requests.send(Ok(request)).await;
    }

    /// Answers everything alike until the stream ends; the number of questions.
    async fn answer_all(mut self, verdict: Verdict) -> usize {
        let mut answered = 0;
        while let Some(questions) = self.questions().await {
            for question in questions {
                self.answer(&question, verdict, None).await;
                answered += 1;
            }
        }
        answered
    }
}

fn hub() -> CallbackHub {
    CallbackHub::new(CallbackOptions {
        answer_timeout_ms: 2_000,
        next_replica_after_ms: 100,
        ..CallbackOptions::default()
    })
}

fn question() -> Question {
    Question {
        transaction_id: Uuid::now_v7(),
        prepared_at_ms: 1,
        attempt: 1,
        messages: Vec::new(),
    }
}

#[tokio::test]
async fn nobody_connected_is_unreachable() {
    let hub = hub();
    let _other = Application::connect(&hub, "another-service").await;
    let answer = hub.ask(GROUP, question()).await;
    assert!(matches!(
        answer,
        Answer::Unreachable {
            why: Undecided::NoReplica { .. }
        }
    ));
}

#[tokio::test]
async fn an_answer_decides_with_its_payload_and_unknown_never_does() {
    let hub = hub();
    let mut application = Application::connect(&hub, GROUP).await;
    let expected = [
        (Verdict::Commit, Some("late")),
        (Verdict::Commit, None),
        (Verdict::Rollback, None),
        (Verdict::Unknown, None),
    ];
    for (verdict, payload) in expected {
        let asked = tokio::spawn(hub.ask(GROUP, question()));
        let questions = application.questions().await.unwrap();
        application.answer(&questions[0], verdict, payload).await;
        let answer = asked.await.unwrap();
        match verdict {
            Verdict::Commit => assert_eq!(
                answer,
                Answer::Commit {
                    payload: payload.map(Into::into)
                }
            ),
            Verdict::Rollback => assert_eq!(answer, Answer::Rollback),
            Verdict::Unknown => assert!(matches!(answer, Answer::Unknown { .. })),
        }
    }
}

#[tokio::test]
async fn replicas_take_turns() {
    let hub = hub();
    let replicas = [
        Application::connect(&hub, GROUP).await,
        Application::connect(&hub, GROUP).await,
        Application::connect(&hub, GROUP).await,
    ];
    let working = replicas.map(|replica| tokio::spawn(replica.answer_all(Verdict::Commit)));
    let answers = join_all((0..300).map(|_| hub.ask(GROUP, question()))).await;
    assert!(
        answers
            .iter()
            .all(|answer| *answer == Answer::Commit { payload: None })
    );
    hub.close();
    for replica in working {
        assert_eq!(replica.await.unwrap(), 100);
    }
}

#[tokio::test]
async fn a_stream_that_breaks_or_stays_silent_makes_way_for_another() {
    for breaks in [true, false] {
        let hub = hub();
        let mut bad = Application::connect(&hub, GROUP).await;
        let good = Application::connect(&hub, GROUP).await;
        tokio::spawn(good.answer_all(Verdict::Rollback));
        // Two questions: each replica is the first to be asked once.
        let answers = [0, 1].map(|_| tokio::spawn(hub.ask(GROUP, question())));
        let questions = bad.questions().await;
        assert_eq!(questions.unwrap().len(), 1);
        let bad = (!breaks).then_some(bad);
        for answer in answers {
            assert_eq!(answer.await.unwrap(), Answer::Rollback);
        }
        drop(bad);
    }
}

#[tokio::test]
async fn a_late_answer_counts_even_after_another_replica_was_asked() {
    let hub = hub();
    let mut slow = Application::connect(&hub, GROUP).await;
    let mut other = Application::connect(&hub, GROUP).await;
    let asked = tokio::spawn(hub.ask(GROUP, question()));
    let (first, second) = futures::join!(slow.questions(), other.questions());
    assert_eq!(first, second);
    slow.answer(&first.unwrap()[0], Verdict::Commit, None).await;
    assert_eq!(asked.await.unwrap(), Answer::Commit { payload: None });
}

#[tokio::test]
async fn nobody_answers_is_unknown_in_time() {
    let hub = CallbackHub::new(CallbackOptions {
        answer_timeout_ms: 200,
        ..CallbackOptions::default()
    });
    let _silent = Application::connect(&hub, GROUP).await;
    let answer = tokio::time::timeout(Duration::from_secs(60), hub.ask(GROUP, question())).await;
    assert!(matches!(
        answer.unwrap(),
        Answer::Unknown {
            why: Undecided::TimedOut { .. }
        }
    ));
}

#[tokio::test]
async fn busy_replicas_are_told_apart_from_missing_ones() {
    let hub = CallbackHub::new(CallbackOptions {
        unanswered_questions_max: 2,
        ..CallbackOptions::default()
    });
    let _busy = Application::connect(&hub, GROUP).await;
    let asked = [0, 1].map(|_| tokio::spawn(hub.ask(GROUP, question())));
    tokio::task::yield_now().await;
    let answer = hub.ask(GROUP, question()).await;
    assert!(matches!(
        answer,
        Answer::Unknown {
            why: Undecided::ReplicasBusy { limit: 2, .. }
        }
    ));
    asked.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn the_last_stream_that_breaks_is_unknown_and_leaves_nobody() {
    let hub = hub();
    let mut only = Application::connect(&hub, GROUP).await;
    let asked = tokio::spawn(hub.ask(GROUP, question()));
    only.questions().await.unwrap();
    drop(only);
    let answer = asked.await.unwrap();
    assert!(matches!(answer, Answer::Unknown { .. }), "{answer:?}");
    let answer = hub.ask(GROUP, question()).await;
    assert!(matches!(answer, Answer::Unreachable { .. }), "{answer:?}");
}

#[tokio::test]
async fn a_stream_without_a_legal_group_is_refused() {
    let hub = hub();
    for group in ["", "no spaces", &"x".repeat(121)] {
        let (requests, received) = mpsc::channel(1);
        let register = CheckBackRequest {
            producer_group: group.to_owned(),
            answers: Vec::new(),
        };
        requests.send(Ok(register)).await.unwrap();
        let refused = hub.connect(ReceiverStream::new(received)).await.err();
        assert_eq!(refused.unwrap().metadata["field"], "producer_group");
    }
}
