//! `outrigger topics`.

use clap::{Args, Subcommand};
use outrigger_proto::v1;

use super::admin::{Server, line, told};
use crate::config::Durability;

/// Arguments of `outrigger topics`.
#[derive(Debug, Args)]
pub(super) struct Topics {
    #[command(flatten)]
    server: Server,
    #[command(subcommand)]
    command: TopicsCommand,
}

#[derive(Debug, Subcommand)]
enum TopicsCommand {
    /// All topics and how many messages their queues hold
    List,
    /// Create a topic
    Create {
        topic: String,
        /// 1 to 1,024 [default: the sidecar's default_queues]
        #[arg(long, default_value_t = 0)]
        queues: u32,
        /// When sends are answered that do not choose it themselves [default: the sidecar's
        /// default_durability]
        #[arg(long, value_enum)]
        durability: Option<Durability>,
    },
    /// Change when sends to a topic are answered that do not choose it themselves
    SetDurability {
        topic: String,
        #[arg(value_enum)]
        durability: Durability,
    },
    /// One topic, queue by queue
    Show { topic: String },
}

pub(super) async fn topics(arguments: Topics) -> anyhow::Result<()> {
    let mut admin = arguments.server.connect().await?;
    match arguments.command {
        TopicsCommand::List => {
            let answer = told(admin.list_topics(v1::ListTopicsRequest {}).await)?;
            for topic in answer.topics {
                let messages: u64 = topic
                    .queues
                    .iter()
                    .map(|queue| queue.next_offset - queue.first_offset)
                    .sum();
                line(format_args!(
                    "{}\t{} queues\t{messages} messages\t{}",
                    topic.topic,
                    topic.queues.len(),
                    level_name(&topic)
                ));
            }
        }
        TopicsCommand::Create {
            topic,
            queues,
            durability,
        } => {
            let request = v1::CreateTopicRequest {
                topic,
                queues,
                durability: durability
                    .map_or(v1::Durability::Unspecified, Into::into)
                    .into(),
            };
            show_topic(&told(admin.create_topic(request).await)?);
        }
        TopicsCommand::SetDurability { topic, durability } => {
            let request = v1::UpdateTopicRequest {
                topic,
                durability: v1::Durability::from(durability).into(),
            };
            show_topic(&told(admin.update_topic(request).await)?);
        }
        TopicsCommand::Show { topic } => {
            show_topic(&told(
                admin
                    .describe_topic(v1::DescribeTopicRequest { topic })
                    .await,
            )?);
        }
    }
    Ok(())
}

fn show_topic(topic: &v1::Topic) {
    line(format_args!("{}\t{}", topic.topic, level_name(topic)));
    for queue in &topic.queues {
        let v1::Queue {
            queue,
            first_offset,
            next_offset,
        } = queue;
        line(format_args!(
            "  queue {queue}\toffsets {first_offset} to {next_offset}"
        ));
    }
}

fn level_name(topic: &v1::Topic) -> &'static str {
    match topic.durability() {
        // What a sidecar does that knows of no other level.
        v1::Durability::Unspecified | v1::Durability::Synced => "synced",
        v1::Durability::Replicated => "replicated",
        v1::Durability::Accepted => "accepted",
    }
}
