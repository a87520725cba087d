use std::time::Duration;

use outrigger_proto::v1::{self, producer_client::ProducerClient};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use uuid::Uuid;

use super::{Cluster, LONG};

/// How long a question is waited for before it is looked whether there will be one.
const SOON: Duration = Duration::from_millis(50);

/// Whatever data group decides them, and also after one has had another leader.
#[tokio::test]
async fn a_replica_is_asked_about_the_transactions_of_all_data_groups() {
    let cluster = Cluster::start(3).await;
    let topics = cluster.topics(1).concat();
    let mut client = ProducerClient::new(cluster.channel());
    let (requests, body) = mpsc::channel(64);
    let registration = v1::CheckBackRequest {
        producer_group: "shop".to_owned(),
        ..Default::default()
    };
    requests.send(registration).await.unwrap();
    let asked = client.check_back(ReceiverStream::new(body)).await.unwrap();
    let mut asked = asked.into_inner();
    let mut next = 1;
    for round in 0..2 {
        let ids: Vec<Uuid> = (next..next + 12).map(Uuid::from_u128).collect();
        next += 12;
        for id in &ids {
            let message = v1::Message {
                topic: topics[0].clone(),
                ..Default::default()
            };
            let request = v1::PrepareRequest {
                transaction_id: id.to_string(),
                producer_group: "shop".to_owned(),
                messages: vec![message],
            };
            client.prepare(request).await.unwrap();
        }
        let unresolved = || {
            cluster
                .groups
                .iter()
                .map(|group| group.log.status().unresolved)
        };
        let until = Instant::now() + LONG;
        while unresolved().sum::<u64>() > 0 {
            assert!(Instant::now() < until, "nobody is asked any more");
            // What was answered is recorded in a moment, so there may be no further question.
            let Ok(questions) = timeout(SOON, asked.message()).await else {
                continue;
            };
            let questions = questions.unwrap().expect("the stream lives on").questions;
            let answer = |question: v1::CheckBackQuestion| v1::CheckBackAnswer {
                transaction_id: question.transaction_id,
                verdict: v1::Verdict::Commit.into(),
                payload: None,
            };
            let answers = v1::CheckBackRequest {
                answers: questions.into_iter().map(answer).collect(),
                ..Default::default()
            };
            requests.send(answers).await.unwrap();
        }
        if round == 0 {
            let group = &cluster.groups[1];
            group.lose();
            group.lead();
        }
    }
}
