//! Topics, groups, transactions and health.
//!
//! The answers are the protocol's own messages, in [`wire`].

use outrigger_proto::v1::{self, admin_client::AdminClient};
use tonic::transport::Channel;
use uuid::Uuid;

use crate::{Durability, Refusal, Verdict};

/// The protocol's messages that the admin calls take and answer.
pub mod wire {
    pub use outrigger_proto::v1::{
        AuditEntry, ConsumerGroup, ConsumerGroupQueue, CreateConsumerGroupRequest,
        CreateTopicRequest, Durability, HealthResponse, ListTransactionsRequest,
        ListTransactionsResponse, Queue, StartFrom, Topic, Transaction, TransactionState,
    };
}

/// The admin calls. Made by [`Client::admin`](crate::Client::admin); cheap to clone.
///
/// ```no_run
/// # async fn example(client: outrigger_sdk::Client) -> Result<(), outrigger_sdk::Refusal> {
/// let health = client.admin().health().await?;
/// println!("{} transactions are unresolved", health.unresolved_transactions);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Admin {
    client: AdminClient<Channel>,
}

impl Admin {
    pub(crate) fn new(channel: Channel) -> Self {
        Self {
            client: AdminClient::new(channel).max_decoding_message_size(usize::MAX),
        }
    }

    /// Creates a topic with that many queues (1 to 1,024; 0 for the default). One that
    /// exists is left as it is.
    pub async fn create_topic(
        &self,
        topic: impl Into<String>,
        queues: u32,
    ) -> Result<wire::Topic, Refusal> {
        self.create_topic_with(wire::CreateTopicRequest {
            topic: topic.into(),
            queues,
            ..wire::CreateTopicRequest::default()
        })
        .await
    }

    /// Creates a topic with everything that can be chosen for one. One that exists is left
    /// as it is.
    pub async fn create_topic_with(
        &self,
        request: wire::CreateTopicRequest,
    ) -> Result<wire::Topic, Refusal> {
        let response = self.client.clone().create_topic(request).await?;
        Ok(response.into_inner())
    }

    /// Changes when sends to a topic are answered that do not choose it themselves.
    pub async fn set_topic_durability(
        &self,
        topic: impl Into<String>,
        durability: Durability,
    ) -> Result<wire::Topic, Refusal> {
        let request = v1::UpdateTopicRequest {
            topic: topic.into(),
            durability: v1::Durability::from(durability).into(),
        };
        let response = self.client.clone().update_topic(request).await?;
        Ok(response.into_inner())
    }

    /// All topics.
    pub async fn topics(&self) -> Result<Vec<wire::Topic>, Refusal> {
        let request = v1::ListTopicsRequest {};
        let response = self.client.clone().list_topics(request).await?;
        Ok(response.into_inner().topics)
    }

    /// One topic and its queues.
    pub async fn topic(&self, topic: impl Into<String>) -> Result<wire::Topic, Refusal> {
        let request = v1::DescribeTopicRequest {
            topic: topic.into(),
        };
        Ok(self
            .client
            .clone()
            .describe_topic(request)
            .await?
            .into_inner())
    }

    /// Creates a consumer group. One that exists is left as it is.
    ///
    /// ```no_run
    /// # async fn example(client: outrigger_sdk::Client) -> Result<(), outrigger_sdk::Refusal> {
    /// use outrigger_sdk::admin::wire::CreateConsumerGroupRequest;
    ///
    /// client
    ///     .admin()
    ///     .create_consumer_group(CreateConsumerGroupRequest {
    ///         consumer_group: "stock-service".to_owned(),
    ///         retry_delays_ms: vec![100, 500, 2_000],
    ///         ..CreateConsumerGroupRequest::default()
    ///     })
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn create_consumer_group(
        &self,
        request: wire::CreateConsumerGroupRequest,
    ) -> Result<wire::ConsumerGroup, Refusal> {
        let response = self.client.clone().create_consumer_group(request).await?;
        Ok(response.into_inner())
    }

    /// All consumer groups.
    pub async fn consumer_groups(&self) -> Result<Vec<wire::ConsumerGroup>, Refusal> {
        let request = v1::ListConsumerGroupsRequest {};
        let response = self.client.clone().list_consumer_groups(request).await?;
        Ok(response.into_inner().groups)
    }

    /// One consumer group, and how far it has come.
    pub async fn consumer_group(
        &self,
        consumer_group: impl Into<String>,
    ) -> Result<wire::ConsumerGroup, Refusal> {
        let request = v1::DescribeConsumerGroupRequest {
            consumer_group: consumer_group.into(),
        };
        let response = self.client.clone().describe_consumer_group(request).await?;
        Ok(response.into_inner())
    }

    /// One page of the unresolved and parked transactions.
    pub async fn transactions(
        &self,
        request: wire::ListTransactionsRequest,
    ) -> Result<wire::ListTransactionsResponse, Refusal> {
        let response = self.client.clone().list_transactions(request).await?;
        Ok(response.into_inner())
    }

    /// One transaction.
    pub async fn transaction(&self, id: Uuid) -> Result<wire::Transaction, Refusal> {
        let request = v1::ShowTransactionRequest {
            transaction_id: id.to_string(),
        };
        Ok(self
            .client
            .clone()
            .show_transaction(request)
            .await?
            .into_inner())
    }

    /// Decides an unresolved or parked transaction by hand. `reason`, 1 to 1,024
    /// characters, goes into the audit log.
    pub async fn decide_transaction(
        &self,
        id: Uuid,
        verdict: Verdict,
        reason: impl Into<String>,
    ) -> Result<wire::Transaction, Refusal> {
        let request = v1::DecideTransactionRequest {
            transaction_id: id.to_string(),
            verdict: v1::Verdict::from(verdict).into(),
            reason: reason.into(),
        };
        let response = self.client.clone().decide_transaction(request).await?;
        Ok(response.into_inner())
    }

    /// Takes a parked transaction back into check-back. `reason`, 1 to 1,024 characters,
    /// goes into the audit log.
    pub async fn resume_transaction(
        &self,
        id: Uuid,
        reason: impl Into<String>,
    ) -> Result<wire::Transaction, Refusal> {
        let request = v1::ResumeTransactionRequest {
            transaction_id: id.to_string(),
            reason: reason.into(),
        };
        let response = self.client.clone().resume_transaction(request).await?;
        Ok(response.into_inner())
    }

    /// Whether the sidecar is ready, and how much it has to do.
    pub async fn health(&self) -> Result<wire::HealthResponse, Refusal> {
        let request = v1::HealthRequest {};
        Ok(self.client.clone().health(request).await?.into_inner())
    }
}
