use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use outrigger_proto::v1::{SagaPhase, SagaStatus};

use crate::cli::admin::Server;

/// Arguments of `outrigger saga`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(super) server: Server,
    /// Answer in JSON, one document
    #[arg(long, global = true)]
    pub(super) json: bool,
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Check and keep definitions of sagas
    Define(Define),
    /// The latest version of every definition, or all versions of one
    Definitions(Definitions),
    /// Start a saga
    Start(Start),
    /// Sagas in the order of their ids
    List(List),
    /// One saga with its steps and its history
    Show {
        /// Its id
        id: String,
    },
    /// Wait until a saga has ended or is parked; exit code 0 when it is completed, 2 undone,
    /// 3 parked, 4 when the time is over
    Wait(Wait),
    /// Call a stuck step again, or one that waits for its next attempt
    Retry(ActOnStep),
    /// Take a step as done by hand
    Skip(Skip),
    /// Call a step with another input from now on
    Edit(Edit),
    /// Undo everything
    Undo(Act),
    /// Set a saga aside: no call begins
    Park(Act),
    /// Let a parked saga go on
    Resume(Act),
}

#[derive(Debug, Args)]
pub(super) struct Define {
    /// YAML or JSON files; - reads standard input
    #[arg(required = true, value_name = "FILE")]
    pub(super) files: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct Definitions {
    /// All versions of this one
    pub(super) name: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Start {
    /// The name of the definition
    pub(super) definition: String,
    /// The id of the saga; starting it again changes nothing [default: a random one]
    #[arg(long)]
    pub(super) id: Option<String>,
    /// Of the definition, 32 hexadecimal digits [default: the latest]
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(super) version: String,
    /// JSON
    #[arg(long, conflicts_with = "input_file")]
    pub(super) input: Option<String>,
    /// A file with the input; - reads standard input
    #[arg(long, value_name = "FILE")]
    pub(super) input_file: Option<PathBuf>,
    /// When the first step begins, in milliseconds since the Unix epoch [default: now]
    #[arg(
        long,
        value_name = "MS",
        default_value_t = 0,
        hide_default_value = true
    )]
    pub(super) at_ms: u64,
    /// Wait so long for its end; the exit code is then that of `wait`
    #[arg(long, value_name = "SECONDS")]
    pub(super) wait: Option<u64>,
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// Only of this definition
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(super) definition: String,
    /// Only with this status; may be given several times
    #[arg(long, value_enum)]
    pub(super) status: Vec<Status>,
    /// Only those with a step that waits for a person
    #[arg(long)]
    pub(super) stuck: bool,
    /// At most so many
    #[arg(long, default_value_t = 100)]
    pub(super) limit: u32,
    /// Go on after the last one of an earlier list
    #[arg(
        long,
        value_name = "TOKEN",
        default_value = "",
        hide_default_value = true
    )]
    pub(super) page: String,
}

#[derive(Debug, Args)]
pub(super) struct Wait {
    /// Its id
    pub(super) id: String,
    /// At most so long
    #[arg(long, default_value_t = 60)]
    pub(super) seconds: u64,
}

/// Who, and why.
#[derive(Debug, Args)]
pub(super) struct Note {
    /// Who does it, for the audit log [default: the name of the user]
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
    /// Why, for the audit log
    #[arg(long)]
    pub(super) reason: String,
}

impl Note {
    pub(super) fn by(&self) -> String {
        let user = || {
            ["USER", "LOGNAME"]
                .into_iter()
                .find_map(|name| std::env::var(name).ok())
        };
        let by = self.by.clone().or_else(user);
        by.unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()))
    }
}

#[derive(Debug, Args)]
pub(super) struct Act {
    /// The id of the saga
    pub(super) id: String,
    #[command(flatten)]
    pub(super) note: Note,
}

#[derive(Debug, Args)]
pub(super) struct ActOnStep {
    /// The id of the saga
    pub(super) id: String,
    /// The name of the step
    pub(super) step: String,
    #[command(flatten)]
    pub(super) note: Note,
}

#[derive(Debug, Args)]
pub(super) struct Skip {
    #[command(flatten)]
    pub(super) act: ActOnStep,
    /// Stands in for the action's output; JSON
    #[arg(long, conflicts_with = "output_file")]
    pub(super) output: Option<String>,
    /// A file with it; - reads standard input
    #[arg(long, value_name = "FILE")]
    pub(super) output_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct Edit {
    #[command(flatten)]
    pub(super) act: ActOnStep,
    /// The input; JSON
    #[arg(
        long,
        conflicts_with = "input_file",
        required_unless_present = "input_file"
    )]
    pub(super) input: Option<String>,
    /// A file with the input; - reads standard input
    #[arg(long, value_name = "FILE")]
    pub(super) input_file: Option<PathBuf>,
    /// For which calls [default: what the step is called for now]
    #[arg(long, value_enum)]
    pub(super) phase: Option<Phase>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Phase {
    Action,
    Undo,
    Try,
    Confirm,
    Cancel,
}

impl From<Phase> for SagaPhase {
    fn from(phase: Phase) -> Self {
        match phase {
            Phase::Action => Self::Action,
            Phase::Undo => Self::Undo,
            Phase::Try => Self::Try,
            Phase::Confirm => Self::Confirm,
            Phase::Cancel => Self::Cancel,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Status {
    Running,
    Confirming,
    Undoing,
    Parked,
    Completed,
    Undone,
}

impl From<Status> for SagaStatus {
    fn from(status: Status) -> Self {
        match status {
            Status::Running => Self::Running,
            Status::Confirming => Self::Confirming,
            Status::Undoing => Self::Undoing,
            Status::Parked => Self::Parked,
            Status::Completed => Self::Completed,
            Status::Undone => Self::Undone,
        }
    }
}
