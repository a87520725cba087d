//! Half-messages that nobody resolves, and what becomes of them.

use outrigger_sdk::{Client, Message, admin::wire::TransactionState};
use uuid::Uuid;

use crate::waiting::eventually;

/// Prepares a transaction with one message for the topic `orders`, and leaves it at that.
///
/// # Panics
///
/// When that does not work.
#[expect(clippy::expect_used, reason = "a failed step fails the test")]
pub async fn prepare(client: &Client, group: &str, body: &str) -> Uuid {
    let message = Message::new("orders", body.to_owned());
    let transaction = client.producer(group).transaction().message(message);
    transaction.prepare().await.expect("prepared").id()
}

/// Waits until a transaction is in this state.
///
/// # Panics
///
/// When it does not come to that.
pub async fn becomes(client: &Client, id: Uuid, state: TransactionState) {
    eventually(&format!("{id} becomes {state:?}"), async || {
        let found = client.admin().transaction(id).await;
        found.is_ok_and(|found| found.state() == state)
    })
    .await;
}
