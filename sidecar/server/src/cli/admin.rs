//! The operator's commands, each one call of the Admin service.

use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};
use outrigger_proto::v1::{self, admin_client::AdminClient};
use tonic::transport::Channel;

/// Which sidecar is asked.
#[derive(Debug, Args)]
pub(super) struct Server {
    /// The sidecar's gRPC address
    #[arg(
        long,
        global = true,
        value_name = "URL",
        default_value = "http://127.0.0.1:7070"
    )]
    server: String,
}

impl Server {
    /// Its address.
    pub(super) fn url(&self) -> &str {
        &self.server
    }

    pub(super) async fn connect(&self) -> anyhow::Result<AdminClient<Channel>> {
        AdminClient::connect(self.server.clone())
            .await
            .with_context(|| format!("no sidecar can be reached at {}", self.server))
    }
}

/// Arguments of `outrigger groups`.
#[derive(Debug, Args)]
pub(super) struct Groups {
    #[command(flatten)]
    server: Server,
    #[command(subcommand)]
    command: GroupsCommand,
}

#[derive(Debug, Subcommand)]
enum GroupsCommand {
    /// All consumer groups and their backlogs
    List,
    /// Create a consumer group
    Create {
        group: String,
        /// Where it starts in queues that it has not read yet
        #[arg(long, value_enum, default_value_t = Start::First)]
        start_from: Start,
    },
    /// One consumer group, queue by queue
    Show { group: String },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Start {
    First,
    Last,
}

pub(super) async fn groups(arguments: Groups) -> anyhow::Result<()> {
    let mut admin = arguments.server.connect().await?;
    match arguments.command {
        GroupsCommand::List => {
            let answer = told(
                admin
                    .list_consumer_groups(v1::ListConsumerGroupsRequest {})
                    .await,
            )?;
            for group in answer.groups {
                let backlog: u64 = group.queues.iter().map(|queue| queue.backlog).sum();
                line(format_args!("{}\tbacklog {backlog}", group.consumer_group));
            }
        }
        GroupsCommand::Create { group, start_from } => {
            let start_from = match start_from {
                Start::First => v1::StartFrom::First,
                Start::Last => v1::StartFrom::Last,
            };
            let request = v1::CreateConsumerGroupRequest {
                consumer_group: group,
                start_from: start_from.into(),
                ..Default::default()
            };
            show_group(&told(admin.create_consumer_group(request).await)?);
        }
        GroupsCommand::Show { group } => {
            let request = v1::DescribeConsumerGroupRequest {
                consumer_group: group,
            };
            show_group(&told(admin.describe_consumer_group(request).await)?);
        }
    }
    Ok(())
}

fn show_group(group: &v1::ConsumerGroup) {
    line(format_args!(
        "{}\tat most {} attempts",
        group.consumer_group, group.max_attempts
    ));
    for queue in &group.queues {
        line(format_args!(
            "  {} queue {}\tdone below {} and {} above\t{} wait for a retry\tbacklog {}",
            queue.topic,
            queue.queue,
            queue.floor,
            queue.acked_above_floor,
            queue.waiting_retry,
            queue.backlog
        ));
    }
}

/// Arguments of `outrigger transactions`.
#[derive(Debug, Args)]
pub(super) struct Transactions {
    #[command(flatten)]
    server: Server,
    #[command(subcommand)]
    command: TransactionsCommand,
}

#[derive(Debug, Subcommand)]
enum TransactionsCommand {
    /// Transactions that are not resolved, oldest first
    List {
        /// Only the ones that were set aside for a person
        #[arg(long)]
        parked: bool,
        /// Only of this producer group
        #[arg(long, default_value = "")]
        group: String,
        /// At most so many
        #[arg(long, default_value_t = 100)]
        limit: u32,
    },
    /// One transaction with its messages and its audit log
    Show { id: String },
    /// Decide a transaction by hand
    Decide {
        id: String,
        #[arg(value_enum)]
        verdict: Decision,
        /// For the audit log
        #[arg(long)]
        reason: String,
    },
    /// Take a parked transaction back into check-back
    Resume {
        id: String,
        /// For the audit log
        #[arg(long)]
        reason: String,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Decision {
    Commit,
    Rollback,
}

pub(super) async fn transactions(arguments: Transactions) -> anyhow::Result<()> {
    let mut admin = arguments.server.connect().await?;
    match arguments.command {
        TransactionsCommand::List {
            parked,
            group,
            limit,
        } => {
            let state = if parked {
                v1::TransactionState::Parked
            } else {
                v1::TransactionState::Unspecified
            };
            let request = v1::ListTransactionsRequest {
                state: state.into(),
                producer_group: group,
                limit,
                page: String::new(),
            };
            for transaction in told(admin.list_transactions(request).await)?.transactions {
                summary(&transaction);
            }
        }
        TransactionsCommand::Show { id } => {
            let request = v1::ShowTransactionRequest { transaction_id: id };
            show_transaction(&told(admin.show_transaction(request).await)?);
        }
        TransactionsCommand::Decide {
            id,
            verdict,
            reason,
        } => {
            let verdict = match verdict {
                Decision::Commit => v1::Verdict::Commit,
                Decision::Rollback => v1::Verdict::Rollback,
            };
            let request = v1::DecideTransactionRequest {
                transaction_id: id,
                verdict: verdict.into(),
                reason,
            };
            show_transaction(&told(admin.decide_transaction(request).await)?);
        }
        TransactionsCommand::Resume { id, reason } => {
            let request = v1::ResumeTransactionRequest {
                transaction_id: id,
                reason,
            };
            show_transaction(&told(admin.resume_transaction(request).await)?);
        }
    }
    Ok(())
}

fn summary(transaction: &v1::Transaction) {
    line(format_args!(
        "{}\t{}\t{}\tprepared at {} ms",
        transaction.transaction_id,
        state_name(transaction),
        transaction.producer_group,
        transaction.prepared_at_ms
    ));
}

fn state_name(transaction: &v1::Transaction) -> &'static str {
    match transaction.state() {
        v1::TransactionState::Unspecified => "unknown",
        v1::TransactionState::Prepared => "prepared",
        v1::TransactionState::Committed => "committed",
        v1::TransactionState::RolledBack => "rolled back",
        v1::TransactionState::Parked => "parked",
    }
}

fn show_transaction(transaction: &v1::Transaction) {
    summary(transaction);
    for message in &transaction.messages {
        line(format_args!(
            "  message {} to {}",
            message.message_id, message.topic
        ));
    }
    for entry in &transaction.audit {
        line(format_args!(
            "  at {} ms: {}: {}",
            entry.at_ms, entry.action, entry.reason
        ));
    }
    if !transaction.last_check.is_empty() {
        line(format_args!("  last check: {}", transaction.last_check));
    }
}

/// Arguments of `outrigger health`.
#[derive(Debug, Args)]
pub(super) struct Health {
    #[command(flatten)]
    server: Server,
}

pub(super) async fn health(arguments: Health) -> anyhow::Result<()> {
    let mut admin = arguments.server.connect().await?;
    let health = told(admin.health(v1::HealthRequest {}).await)?;
    line(format_args!(
        "ready {}\tversion {}\tcluster {}\tnode {}\tapplied {}\tunresolved {}\tparked {}",
        health.ready,
        health.version,
        health.cluster_id,
        health.node_id,
        health.applied_index,
        health.unresolved_transactions,
        health.parked_transactions
    ));
    Ok(())
}

/// The sidecar's own words, without the wrapping of the transport.
pub(super) fn told<T>(answer: Result<tonic::Response<T>, tonic::Status>) -> anyhow::Result<T> {
    match answer {
        Ok(response) => Ok(response.into_inner()),
        Err(status) => anyhow::bail!("{} ({:?})", status.message(), status.code()),
    }
}

#[expect(clippy::print_stdout, reason = "a command line answers its user")]
pub(super) fn line(text: std::fmt::Arguments<'_>) {
    println!("{text}");
}
