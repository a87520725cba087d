//! The Admin service: what operators ask for and decide.

use bytes::Bytes;
use outrigger_core::half_message::State;
use outrigger_log::{
    self as log, Log, TransactionMessage,
    command::{Command, Refusal, StartFrom},
};
use outrigger_proto::stored::{self, admin_server::Admin};
use prost::Message as _;
use tonic::{Request, Response, Status};

use super::{
    durability, groups::Groups, refusal, status::Failure, topics, topics::Topics, transaction,
};
use crate::{check_back::LastChecks, delivery, http::Readiness};

/// The gRPC service; cheap to clone.
#[derive(Clone)]
pub struct AdminService {
    log: Log,
    topics: Topics,
    groups: Groups,
    delivery: delivery::Service,
    last_checks: LastChecks,
    readiness: Readiness,
}

impl AdminService {
    pub(crate) fn new(
        log: Log,
        topics: Topics,
        groups: Groups,
        delivery: delivery::Service,
        last_checks: LastChecks,
        readiness: Readiness,
    ) -> Self {
        Self {
            log,
            topics,
            groups,
            delivery,
            last_checks,
            readiness,
        }
    }

    fn topic(&self, topic: &log::Topic) -> stored::Topic {
        let queues = (0..topic.queues)
            .map(|queue| {
                let (first_offset, next_offset) = self.log.queue_bounds(topic.id, queue);
                stored::Queue {
                    queue,
                    first_offset,
                    next_offset,
                }
            })
            .collect();
        stored::Topic {
            topic: topic.name.clone(),
            queues,
            created_at_ms: topic.created_at_ms,
            durability: durability::to_wire(topic.durability()).into(),
        }
    }

    fn topic_named(&self, name: &str) -> Result<stored::Topic, Failure> {
        let topic = self.log.topic(name).ok_or_else(|| topics::unknown(name))?;
        Ok(self.topic(&topic))
    }

    fn group_named(&self, name: &str) -> Result<stored::ConsumerGroup, Failure> {
        let group = self
            .log
            .consumer_group(name)
            .ok_or_else(|| super::groups::unknown(name))?;
        Ok(self.group(&group))
    }

    fn group(&self, group: &log::ConsumerGroup) -> stored::ConsumerGroup {
        let receiving = self.delivery.topics_of(group.id);
        let mut queues = Vec::new();
        for topic in self.log.topics() {
            let recorded = |queue| {
                self.log
                    .recorded_progress(group.id, topic.id, queue)
                    .is_some()
            };
            if receiving.contains(&topic.id) || (0..topic.queues).any(recorded) {
                queues
                    .extend((0..topic.queues).map(|queue| self.group_queue(group, &topic, queue)));
            }
        }
        stored::ConsumerGroup {
            consumer_group: group.name.clone(),
            start_from: match group.config.start_from {
                StartFrom::First => stored::StartFrom::First.into(),
                StartFrom::Last => stored::StartFrom::Last.into(),
            },
            max_attempts: group.config.max_attempts,
            retry_delays_ms: group.config.retry_delays_ms.clone(),
            queues,
        }
    }

    /// How far a group has come in one queue.
    fn group_queue(
        &self,
        group: &log::ConsumerGroup,
        topic: &log::Topic,
        queue: u32,
    ) -> stored::ConsumerGroupQueue {
        let progress = self.log.progress(group.id, topic.id, queue);
        let (_, next) = self.log.queue_bounds(topic.id, queue);
        let acked_above_floor = progress.acked_above_floor();
        stored::ConsumerGroupQueue {
            topic: topic.name.clone(),
            queue,
            floor: progress.floor(),
            acked_above_floor,
            waiting_retry: progress.retries().len() as u64,
            backlog: next
                .saturating_sub(progress.floor())
                .saturating_sub(acked_above_floor),
        }
    }

    fn transaction(&self, transaction: &log::Transaction) -> stored::Transaction {
        stored::Transaction {
            transaction_id: transaction.id.to_string(),
            producer_group: transaction.producer_group.to_string(),
            state: state(transaction.state).into(),
            prepared_at_ms: transaction.prepared_at_ms,
            resolved_at_ms: transaction.resolved_at_ms.unwrap_or_default(),
            messages: self.messages_without_bodies(&transaction.messages),
            audit: transaction
                .audit
                .iter()
                .map(|entry| stored::AuditEntry {
                    at_ms: entry.at_ms,
                    action: entry.action.to_string(),
                    reason: entry.reason.clone(),
                })
                .collect(),
            last_check: self.last_checks.of(transaction.id).unwrap_or_default(),
        }
    }

    fn messages_without_bodies(&self, messages: &[TransactionMessage]) -> Vec<stored::Message> {
        let entries: Vec<_> = messages.iter().map(|message| message.stored).collect();
        let stored = match self.log.read(&entries) {
            Ok(stored) => stored,
            Err(error) => {
                tracing::warn!(%error, "the messages of a transaction cannot be shown");
                return Vec::new();
            }
        };
        stored
            .into_iter()
            .filter_map(|stored| stored::Message::decode(stored).ok())
            .map(|message| stored::Message {
                body: Bytes::new(),
                ..message
            })
            .collect()
    }

    fn transaction_by_id(&self, id: &str) -> Result<stored::Transaction, Failure> {
        let id = transaction::id(id)?;
        let transaction =
            transaction::find(&self.log, id)?.ok_or(Refusal::TransactionNotFound(id))?;
        Ok(self.transaction(&transaction))
    }

    async fn decide(
        &self,
        request: stored::DecideTransactionRequest,
    ) -> Result<stored::Transaction, Failure> {
        let id = transaction::id(&request.transaction_id)?;
        let verdict = transaction::verdict(request.verdict)?;
        check_reason(&request.reason)?;
        let command = Command::Decide {
            id,
            verdict,
            replacements: Vec::new(),
            reason: request.reason,
        };
        refusal::run(&self.log, command).await?;
        tracing::warn!(transaction_id = %id, ?verdict, "a transaction was decided by hand");
        self.transaction_by_id(&request.transaction_id)
    }

    async fn resume(
        &self,
        request: stored::ResumeTransactionRequest,
    ) -> Result<stored::Transaction, Failure> {
        let id = transaction::id(&request.transaction_id)?;
        check_reason(&request.reason)?;
        refusal::run(
            &self.log,
            Command::Resume {
                id,
                reason: request.reason,
            },
        )
        .await?;
        tracing::warn!(transaction_id = %id, "a parked transaction was resumed by hand");
        self.transaction_by_id(&request.transaction_id)
    }

    fn list(
        &self,
        request: &stored::ListTransactionsRequest,
    ) -> Result<stored::ListTransactionsResponse, Failure> {
        const LISTED_MAX: usize = 1_000;
        let limit = match usize::try_from(request.limit).unwrap_or(usize::MAX) {
            0 => 100,
            limit if limit <= LISTED_MAX => limit,
            limit => {
                return Err(Failure::invalid(
                    "ILLEGAL_LIMIT",
                    "limit",
                    limit,
                    "1 to 1000",
                ));
            }
        };
        let mut after = page(&request.page)?;
        let mut transactions = Vec::new();
        loop {
            let found = self.log.unresolved(after, u64::MAX, LISTED_MAX);
            let Some(last) = found.last() else {
                return Ok(stored::ListTransactionsResponse {
                    transactions,
                    next_page: String::new(),
                });
            };
            after = last.sequence;
            for unresolved in found {
                if !wanted(request, &unresolved.transaction) {
                    continue;
                }
                transactions.push(self.transaction(&unresolved.transaction));
                if transactions.len() == limit {
                    let next_page = unresolved.sequence.to_string();
                    return Ok(stored::ListTransactionsResponse {
                        transactions,
                        next_page,
                    });
                }
            }
        }
    }
}

fn wanted(request: &stored::ListTransactionsRequest, transaction: &log::Transaction) -> bool {
    let group = &request.producer_group;
    let wanted_state = match request.state() {
        stored::TransactionState::Unspecified => true,
        wanted => wanted == state(transaction.state),
    };
    wanted_state && (group.is_empty() || **group == *transaction.producer_group)
}

fn state(state: State) -> stored::TransactionState {
    match state {
        State::Prepared => stored::TransactionState::Prepared,
        State::Committed => stored::TransactionState::Committed,
        State::RolledBack => stored::TransactionState::RolledBack,
        State::Parked => stored::TransactionState::Parked,
    }
}

fn page(page: &str) -> Result<u64, Failure> {
    if page.is_empty() {
        return Ok(0);
    }
    page.parse().map_err(|_| {
        Failure::invalid(
            "ILLEGAL_PAGE",
            "page",
            page,
            "the next_page of an earlier answer",
        )
    })
}

fn check_reason(reason: &str) -> Result<(), Failure> {
    const REASON_CHARS_MAX: usize = 1_024;
    let chars = reason.trim().chars().count();
    if (1..=REASON_CHARS_MAX).contains(&chars) {
        return Ok(());
    }
    Err(Failure::invalid(
        "ILLEGAL_REASON",
        "reason",
        reason,
        "1 to 1024 characters, for the audit log",
    ))
}

#[tonic::async_trait]
impl Admin for AdminService {
    async fn create_topic(
        &self,
        request: Request<stored::CreateTopicRequest>,
    ) -> Result<Response<stored::Topic>, Status> {
        let stored::CreateTopicRequest {
            topic,
            queues,
            durability,
        } = request.into_inner();
        let durability = durability::chosen(durability)?;
        self.topics.create(&topic, queues, durability).await?;
        Ok(Response::new(self.topic_named(&topic)?))
    }

    async fn update_topic(
        &self,
        request: Request<stored::UpdateTopicRequest>,
    ) -> Result<Response<stored::Topic>, Status> {
        let stored::UpdateTopicRequest { topic, durability } = request.into_inner();
        if let Some(durability) = durability::chosen(durability)? {
            self.topics.set_durability(&topic, durability).await?;
        }
        Ok(Response::new(self.topic_named(&topic)?))
    }

    async fn list_topics(
        &self,
        _: Request<stored::ListTopicsRequest>,
    ) -> Result<Response<stored::ListTopicsResponse>, Status> {
        let topics = self
            .log
            .topics()
            .iter()
            .map(|topic| self.topic(topic))
            .collect();
        Ok(Response::new(stored::ListTopicsResponse { topics }))
    }

    async fn describe_topic(
        &self,
        request: Request<stored::DescribeTopicRequest>,
    ) -> Result<Response<stored::Topic>, Status> {
        Ok(Response::new(
            self.topic_named(&request.into_inner().topic)?,
        ))
    }

    async fn create_consumer_group(
        &self,
        request: Request<stored::CreateConsumerGroupRequest>,
    ) -> Result<Response<stored::ConsumerGroup>, Status> {
        let request = request.into_inner();
        self.groups.create(&request).await?;
        Ok(Response::new(self.group_named(&request.consumer_group)?))
    }

    async fn list_consumer_groups(
        &self,
        _: Request<stored::ListConsumerGroupsRequest>,
    ) -> Result<Response<stored::ListConsumerGroupsResponse>, Status> {
        let groups = self
            .log
            .consumer_groups()
            .iter()
            .map(|group| self.group(group))
            .collect();
        Ok(Response::new(stored::ListConsumerGroupsResponse { groups }))
    }

    async fn describe_consumer_group(
        &self,
        request: Request<stored::DescribeConsumerGroupRequest>,
    ) -> Result<Response<stored::ConsumerGroup>, Status> {
        Ok(Response::new(
            self.group_named(&request.into_inner().consumer_group)?,
        ))
    }

    async fn list_transactions(
        &self,
        request: Request<stored::ListTransactionsRequest>,
    ) -> Result<Response<stored::ListTransactionsResponse>, Status> {
        Ok(Response::new(self.list(&request.into_inner())?))
    }

    async fn show_transaction(
        &self,
        request: Request<stored::ShowTransactionRequest>,
    ) -> Result<Response<stored::Transaction>, Status> {
        Ok(Response::new(
            self.transaction_by_id(&request.into_inner().transaction_id)?,
        ))
    }

    async fn decide_transaction(
        &self,
        request: Request<stored::DecideTransactionRequest>,
    ) -> Result<Response<stored::Transaction>, Status> {
        Ok(Response::new(self.decide(request.into_inner()).await?))
    }

    async fn resume_transaction(
        &self,
        request: Request<stored::ResumeTransactionRequest>,
    ) -> Result<Response<stored::Transaction>, Status> {
        Ok(Response::new(self.resume(request.into_inner()).await?))
    }

    async fn health(
        &self,
        _: Request<stored::HealthRequest>,
    ) -> Result<Response<stored::HealthResponse>, Status> {
        let status = self.log.status();
        Ok(Response::new(stored::HealthResponse {
            ready: self.readiness.is_ready(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            cluster_id: status.cluster_id,
            node_id: status.node_id,
            applied_index: status.applied_index,
            unresolved_transactions: status.unresolved,
            parked_transactions: status.parked,
        }))
    }
}
