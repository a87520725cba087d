use std::{
    fs,
    os::unix::{fs::chown, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{
    Error, POSTGRES_URL_ENV, port,
    supervised::{Supervised, find_program},
    unprivileged::unprivileged,
};

const ATTEMPTS_MAX: u32 = 5;
const CONNECTIONS_MAX: u32 = 300;
const DEBIAN_ROOT: &str = "/usr/lib/postgresql";

/// What a private PostgreSQL must survive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Killed processes; faster, for tests.
    ProcessCrash,
    /// Power loss; as in production, for measurements.
    PowerLoss,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Primary,
    Standby,
}

/// A private PostgreSQL; stopped on drop.
pub struct Postgres {
    url: String,
    _server: Supervised,
}

impl Postgres {
    /// Initialises a cluster in a temporary directory, starts it, waits until it answers.
    pub fn start(durability: Durability) -> Result<Self, Error> {
        Self::start_as(Role::Primary, durability)
    }

    /// Starts one that believes itself the standby of a primary that is never there:
    /// readable, and refusing every write.
    pub fn start_standby() -> Result<Self, Error> {
        Self::start_as(Role::Standby, Durability::ProcessCrash)
    }

    fn start_as(role: Role, durability: Durability) -> Result<Self, Error> {
        let mut last = Self::start_on(port::free()?, role, durability);
        for _ in 1..ATTEMPTS_MAX {
            match last {
                Err(Error::NotStarted { .. }) => {
                    last = Self::start_on(port::free()?, role, durability);
                }
                started => return started,
            }
        }
        last
    }

    fn start_on(port: u16, role: Role, durability: Durability) -> Result<Self, Error> {
        let initdb = program("initdb")?;
        let postgres = program("postgres")?;
        let run_as = unprivileged("postgres")?;
        let directory = tempfile::Builder::new()
            .prefix("outrigger-postgres-")
            .tempdir()
            .map_err(|error| Error::io("create a temporary directory", &error))?;
        if let Some((user, group)) = run_as {
            chown(directory.path(), Some(user), Some(group))
                .map_err(|error| Error::path("hand over", directory.path(), &error))?;
        }
        let data = directory.path().join("data");
        initialise(&initdb, &data, run_as)?;

        if role == Role::Standby {
            let signal = data.join("standby.signal");
            fs::write(&signal, "").map_err(|error| Error::path("write", &signal, &error))?;
        }
        let fsync = match durability {
            Durability::ProcessCrash => "fsync=off",
            Durability::PowerLoss => "fsync=on",
        };
        let arguments = [
            postgres.to_string_lossy().into_owned(),
            "-D".to_owned(),
            data.to_string_lossy().into_owned(),
            "-k".to_owned(),
            directory.path().to_string_lossy().into_owned(),
            "-h".to_owned(),
            "127.0.0.1".to_owned(),
            "-p".to_owned(),
            port.to_string(),
            "-c".to_owned(),
            fsync.to_owned(),
            "-c".to_owned(),
            format!("max_connections={CONNECTIONS_MAX}"),
        ];
        // SIGINT is PostgreSQL's fast shutdown: it does not wait for its clients.
        let server = Supervised::start("postgres", directory, "INT", run_as, arguments)?
            .wait_until(is_ready)?;
        Ok(Self {
            url: format!("postgres://postgres@127.0.0.1:{port}/postgres"),
            _server: server,
        })
    }

    /// The maintenance database, as its superuser.
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl AsRef<str> for Postgres {
    fn as_ref(&self) -> &str {
        &self.url
    }
}

fn program(name: &'static str) -> Result<PathBuf, Error> {
    find_program(name, &debian_directories()).ok_or(Error::NotInstalled {
        program: name,
        searched: "/usr/lib/postgresql/*/bin",
        package: "postgresql",
        env: POSTGRES_URL_ENV,
    })
}

/// Debian installs several versions side by side and puts none of them on PATH.
fn debian_directories() -> Vec<PathBuf> {
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir(DEBIAN_ROOT)
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .collect();
    versions.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    versions.into_iter().map(|(_, path)| path).collect()
}

fn initialise(initdb: &Path, data: &Path, run_as: Option<(u32, u32)>) -> Result<(), Error> {
    let mut command = Command::new(initdb);
    command
        .arg("--pgdata")
        .arg(data)
        .args(["--username=postgres", "--auth=trust", "--encoding=UTF8"])
        .args(["--no-locale", "--no-sync"])
        .current_dir("/")
        .stdin(Stdio::null());
    if let Some((user, group)) = run_as {
        command.uid(user).gid(group);
    }
    let output = command
        .output()
        .map_err(|error| Error::path("run", initdb, &error))?;
    if output.status.success() {
        return Ok(());
    }
    Err(Error::Io {
        doing: "initialise a PostgreSQL cluster".to_owned(),
        error: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// The server's own lock file tells its state in the eighth line.
fn is_ready(directory: &Path) -> bool {
    fs::read_to_string(directory.join("data/postmaster.pid")).is_ok_and(|file| {
        file.lines()
            .nth(7)
            .is_some_and(|state| state.trim() == "ready")
    })
}
