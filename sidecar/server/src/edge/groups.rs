//! Consumer groups that an operator makes, with settings of their own.

use outrigger_core::name;
use outrigger_log::{
    Log,
    command::{Command, ConsumerGroupConfig, ConsumerGroupId, Outcome, StartFrom},
};
use outrigger_proto::stored;
use tonic::Code;

use super::{refusal, status::Failure};
use crate::config::DeliveryConfig;

/// Makes consumer groups; cheap to clone.
#[derive(Clone)]
pub(crate) struct Groups {
    log: Log,
    defaults: DeliveryConfig,
}

impl Groups {
    pub(crate) fn new(log: Log, defaults: DeliveryConfig) -> Self {
        Self { log, defaults }
    }

    /// Makes a group with the settings of the request, and the defaults for the others.
    pub(crate) async fn create(
        &self,
        request: &stored::CreateConsumerGroupRequest,
    ) -> Result<ConsumerGroupId, Failure> {
        name::check_group("consumer_group", &request.consumer_group)?;
        let command = Command::CreateConsumerGroup {
            name: request.consumer_group.clone(),
            config: self.config(request)?,
        };
        match refusal::run(&self.log, command).await? {
            Outcome::ConsumerGroup(id) => Ok(id),
            other => Err(refusal::unexpected(Some(&other))),
        }
    }

    fn config(
        &self,
        request: &stored::CreateConsumerGroupRequest,
    ) -> Result<ConsumerGroupConfig, Failure> {
        const ATTEMPTS_MAX: u32 = 1_000;
        const RETRY_DELAYS_MAX: usize = 64;
        const RETRY_DELAY_MS_MAX: u64 = 365 * 86_400_000;
        let max_attempts = match request.max_attempts {
            0 => self.defaults.max_attempts,
            attempts if attempts <= ATTEMPTS_MAX => attempts,
            attempts => {
                return Err(Failure::invalid(
                    "ILLEGAL_ATTEMPTS",
                    "max_attempts",
                    attempts,
                    "1 to 1000",
                ));
            }
        };
        let delays = &request.retry_delays_ms;
        if delays.len() > RETRY_DELAYS_MAX || delays.iter().any(|delay| *delay > RETRY_DELAY_MS_MAX)
        {
            return Err(Failure::invalid(
                "ILLEGAL_RETRY_DELAYS",
                "retry_delays_ms",
                format_args!("{} delays", delays.len()),
                "at most 64 delays of at most 365 days",
            ));
        }
        Ok(ConsumerGroupConfig {
            start_from: match request.start_from() {
                stored::StartFrom::First => StartFrom::First,
                stored::StartFrom::Last => StartFrom::Last,
            },
            max_attempts,
            retry_delays_ms: if delays.is_empty() {
                self.defaults.retry_delays_ms.clone()
            } else {
                delays.clone()
            },
        })
    }
}

/// NOT_FOUND that names the group.
pub(crate) fn unknown(name: &str) -> Failure {
    Failure::new(
        Code::NotFound,
        "CONSUMER_GROUP_NOT_FOUND",
        format!("consumer group \"{name}\" does not exist"),
    )
    .with("field", "consumer_group")
    .with("value", name)
}
