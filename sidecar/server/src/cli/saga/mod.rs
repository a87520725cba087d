//! `outrigger saga`: definitions, sagas, and what a person does to them.

mod acts;
mod arguments;
mod definitions;
mod sagas;
mod show;

use std::process::ExitCode;

use anyhow::Context as _;
use outrigger_proto::v1::{SagaInfo, SagaStatus, saga_client::SagaClient};
use tonic::transport::Channel;

pub(super) use arguments::Arguments;
use arguments::Command;

type Sagas = SagaClient<Channel>;

/// Where commands answer, and in which form.
#[derive(Clone, Copy)]
struct Output {
    json: bool,
}

/// Runs one command. Its exit code tells how a saga is that was waited for.
pub(super) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let server = arguments.server.url();
    let channel = SagaClient::connect(server.to_owned()).await;
    let sagas = channel.with_context(|| format!("no sidecar can be reached at {server}"))?;
    // The history and all payloads of one saga.
    let mut sagas = sagas
        .max_decoding_message_size(usize::MAX)
        .max_encoding_message_size(usize::MAX);
    let output = Output {
        json: arguments.json,
    };
    match arguments.command {
        Command::Define(define) => definitions::define(&mut sagas, define, output).await,
        Command::Definitions(which) => definitions::list(&mut sagas, which, output).await,
        Command::Start(start) => sagas::start(&mut sagas, start, output).await,
        Command::List(which) => sagas::list(&mut sagas, which, output).await,
        Command::Show { id } => sagas::show(&mut sagas, id, output).await,
        Command::Wait(wait) => sagas::wait(&mut sagas, wait, output).await,
        Command::Retry(act) => acts::retry(&mut sagas, act, output).await,
        Command::Skip(act) => acts::skip(&mut sagas, act, output).await,
        Command::Edit(act) => acts::edit(&mut sagas, act, output).await,
        Command::Undo(act) => acts::undo(&mut sagas, act, output).await,
        Command::Park(act) => acts::park(&mut sagas, act, output).await,
        Command::Resume(act) => acts::resume(&mut sagas, act, output).await,
    }
}

/// How a saga is that was waited for, as an exit code.
fn exit_code(saga: &SagaInfo) -> ExitCode {
    ExitCode::from(match saga.status() {
        SagaStatus::Completed => 0,
        SagaStatus::Undone => 2,
        SagaStatus::Parked => 3,
        SagaStatus::Unspecified
        | SagaStatus::Running
        | SagaStatus::Confirming
        | SagaStatus::Undoing => 4,
    })
}
