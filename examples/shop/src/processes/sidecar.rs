use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use serde::Serialize;
use tokio::process::Command;

use super::{Environment, Failures, Supervised, free_address};
use crate::{args::ServiceName, services::PRODUCER_GROUP};

/// A sidecar of a run.
pub(crate) struct Sidecar {
    pub(crate) process: Supervised,
    listen: SocketAddr,
    http: SocketAddr,
}

/// The part of the sidecar's configuration that the shop needs: where to look up how a
/// local transaction of the order service ended.
#[derive(Serialize)]
struct Config<'a> {
    producer_groups: std::collections::BTreeMap<&'a str, CheckBack<'a>>,
}

#[derive(Serialize)]
struct CheckBack<'a> {
    check_back: &'a str,
    database: &'a str,
}

impl Sidecar {
    /// One with a log of its own, of so many data groups.
    pub(crate) fn start(
        groups: u32,
        binary: PathBuf,
        directory: &Path,
        orders_database: &str,
        environment: &Environment,
        failures: &Failures,
    ) -> anyhow::Result<Self> {
        let config_file = write_config(directory, orders_database)?;
        let (data, environment) = (directory.join("log"), environment.clone());
        Self::start_with("outrigger", binary, directory, failures, move |command| {
            command.envs(environment.clone());
            command.arg("serve").arg("--data").arg(&data);
            command.args(["--groups", &groups.to_string()]);
            command.arg("--config").arg(&config_file);
        })
    }

    /// One that passes everything to the cluster with these nodes. That of the order service
    /// is told where its database is, so that it can check back.
    pub(crate) fn start_before(
        nodes: &str,
        service: ServiceName,
        binary: PathBuf,
        directory: &Path,
        orders_database: &str,
        environment: &Environment,
        failures: &Failures,
    ) -> anyhow::Result<Self> {
        let config_file = match service {
            ServiceName::Order => Some(write_config(directory, orders_database)?),
            ServiceName::Stock | ServiceName::Points | ServiceName::Payments => None,
        };
        let (nodes, environment) = (nodes.to_owned(), environment.clone());
        let name = format!("sidecar-{}", service.as_str());
        Self::start_with(&name, binary, directory, failures, move |command| {
            command.args(["sidecar", "--log", &nodes]);
            command.envs(environment.clone());
            if let Some(config_file) = &config_file {
                command.arg("--config").arg(config_file);
            }
        })
    }

    fn start_with(
        name: &str,
        binary: PathBuf,
        directory: &Path,
        failures: &Failures,
        arguments: impl Fn(&mut Command) + Send + Sync + 'static,
    ) -> anyhow::Result<Self> {
        let listen = free_address()?;
        let http = free_address()?;
        let process = Supervised::start(name, directory, failures, move |_| {
            let mut command = Command::new(&binary);
            arguments(&mut command);
            command
                .args(["--listen", &listen.to_string()])
                .args(["--http", &http.to_string()]);
            command
        });
        Ok(Self {
            process,
            listen,
            http,
        })
    }

    /// Where the services reach it.
    pub(crate) fn uri(&self) -> String {
        format!("http://{}", self.listen)
    }

    /// Answers 200 when it can serve.
    pub(crate) fn ready_url(&self) -> String {
        format!("http://{}/ready", self.http)
    }
}

/// Returns where it is.
fn write_config(directory: &Path, orders_database: &str) -> anyhow::Result<PathBuf> {
    let config = Config {
        producer_groups: [(
            PRODUCER_GROUP,
            CheckBack {
                check_back: "table",
                database: orders_database,
            },
        )]
        .into(),
    };
    let config_file = directory.join("outrigger.toml");
    std::fs::write(&config_file, toml::to_string(&config)?)?;
    Ok(config_file)
}

/// The sidecar's binary: built now when this is a run under cargo, so that the two always
/// fit; else the one next to this program.
pub(crate) async fn find_or_build(quiet: bool) -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let own_directory = own.parent().context("this program is nowhere")?;
    let Some(cargo) = std::env::var_os("CARGO") else {
        let binary = own_directory.join("outrigger");
        anyhow::ensure!(
            binary.is_file(),
            "there is no outrigger next to {}; build it, or run this with cargo run",
            own.display()
        );
        return Ok(binary);
    };
    if !quiet {
        eprintln!("Building the sidecar (cargo build --release -p outrigger)");
    }
    let built = Command::new(cargo)
        .args(["build", "--release", "-p", "outrigger"])
        .args(quiet.then_some("--quiet"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .await
        .context("cannot run cargo")?;
    anyhow::ensure!(built.success(), "the sidecar could not be built");
    // This program may itself be a debug build, in the directory beside.
    let binary = own_directory.with_file_name("release").join("outrigger");
    anyhow::ensure!(binary.is_file(), "{} is not there", binary.display());
    Ok(binary)
}
