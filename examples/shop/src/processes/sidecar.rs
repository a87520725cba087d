use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use serde::Serialize;
use tokio::process::Command;

use super::{Failures, Supervised, free_address};
use crate::services::PRODUCER_GROUP;

/// The sidecar of a run.
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
    pub(crate) fn start(
        binary: PathBuf,
        directory: &Path,
        orders_database: &str,
        failures: &Failures,
    ) -> anyhow::Result<Self> {
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
        let listen = free_address()?;
        let http = free_address()?;
        let data = directory.join("log");
        let process = Supervised::start("outrigger", directory, failures, move |_| {
            let mut command = Command::new(&binary);
            command
                .arg("serve")
                .arg("--data")
                .arg(&data)
                .args(["--listen", &listen.to_string()])
                .args(["--http", &http.to_string()])
                .arg("--config")
                .arg(&config_file);
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
