//! Messages that other data groups have committed and this one delivers.

use outrigger_core::name;
use outrigger_log::{
    ForwardedMessage, Log,
    command::{Command, Outcome},
};
use outrigger_proto::cluster::{ForwardRequest, ForwardResponse, groups_server::Groups};
use tonic::{Request, Response, Status};

use super::{refusal, status::Failure};

/// The Groups service of one data group; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Arrivals {
    log: Log,
    /// Queues of a topic that is made now.
    default_queues: u32,
}

impl Arrivals {
    pub(crate) fn new(log: Log, default_queues: u32) -> Self {
        Self {
            log,
            default_queues,
        }
    }

    fn check(&self, request: &ForwardRequest) -> Result<(), Failure> {
        let here = self.log.data_group();
        let groups = self.log.placement().groups();
        if request.target != here {
            let limit = format_args!("{here}, which is this one");
            return Err(Failure::invalid(
                "WRONG_DATA_GROUP",
                "target",
                request.target,
                limit,
            ));
        }
        if request.source >= groups || request.source == here {
            let limit = format_args!("another one of {groups}");
            return Err(Failure::invalid(
                "UNKNOWN_DATA_GROUP",
                "source",
                request.source,
                limit,
            ));
        }
        for message in &request.messages {
            name::check_topic("messages.topic", &message.topic)?;
        }
        Ok(())
    }
}

#[tonic::async_trait]
impl Groups for Arrivals {
    async fn forward(
        &self,
        request: Request<ForwardRequest>,
    ) -> Result<Response<ForwardResponse>, Status> {
        let request = request.into_inner();
        self.check(&request)?;
        let messages = request.messages.into_iter();
        let command = Command::Forwarded {
            source: request.source,
            first: request.first,
            queues: self.default_queues,
            messages: messages
                .map(|message| ForwardedMessage {
                    topic: message.topic.into(),
                    key_hash: message.key_hash,
                    tag_hash: message.tag_hash,
                    deliver_at_ms: message.deliver_at_ms,
                    stored: message.stored,
                })
                .collect(),
        };
        match refusal::run(&self.log, command).await? {
            Outcome::Forwarded { upto } => Ok(Response::new(ForwardResponse { upto })),
            other => Err(refusal::unexpected(Some(&other)).into()),
        }
    }
}
