//! A private PostgreSQL server for one run.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::Context as _;
use tokio::process::{Child, Command};

use crate::processes::signal;

/// Where Debian keeps its versions, none of them on PATH.
const DEBIAN_ROOT: &str = "/usr/lib/postgresql";
/// PostgreSQL refuses to run as root; it becomes the first of these that exists.
const UNPRIVILEGED_USERS: [&str; 2] = ["postgres", "nobody"];
const START_MAX_MS: u64 = 15_000;

/// Stops when it is dropped.
pub(crate) struct PrivatePostgres {
    child: Child,
    port: u16,
}

impl PrivatePostgres {
    /// Makes a cluster in `directory` and starts a server for it on a free port.
    pub(crate) async fn start(directory: &Path) -> anyhow::Result<Self> {
        let initdb = program("initdb")?;
        let postgres = program("postgres")?;
        let user = unprivileged_user()?;
        let home = directory.join("postgres");
        fs::create_dir_all(&home)?;
        // Temporary directories are closed to others, and the server becomes another user.
        fs::set_permissions(directory, fs::Permissions::from_mode(0o755))?;
        if let Some((user, group)) = user {
            chown(&home, Some(user), Some(group))?;
        }
        let data = home.join("data");
        let made = become_user(Command::new(initdb), user)
            .arg("--pgdata")
            .arg(&data)
            .args(["--username=shop", "--auth=trust", "--encoding=UTF8"])
            .args(["--no-locale", "--no-sync"])
            .current_dir("/")
            .output()
            .await
            .context("cannot run initdb")?;
        anyhow::ensure!(
            made.status.success(),
            "initdb failed: {}",
            String::from_utf8_lossy(&made.stderr)
        );
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let output = fs::File::create(directory.join("postgres.log"))?;
        let child = become_user(Command::new(postgres), user)
            .arg("-D")
            .arg(&data)
            .arg("-k")
            .arg(&home)
            .args(["-h", "127.0.0.1", "-p", &port.to_string()])
            .args(["-c", "max_connections=200"])
            // The server itself is not killed in a run, and the cluster is thrown away.
            .args(["-c", "fsync=off"])
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .kill_on_drop(true)
            .spawn()
            .context("cannot run postgres")?;
        let mut started = Self { child, port };
        started.wait_until_ready(&data).await?;
        Ok(started)
    }

    pub(crate) fn url(&self) -> String {
        format!("postgres://shop@127.0.0.1:{}/postgres", self.port)
    }

    /// The server's own lock file tells its state in the eighth line.
    async fn wait_until_ready(&mut self, data: &Path) -> anyhow::Result<()> {
        let ready = async {
            loop {
                let state = fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
                if state.lines().nth(7).map(str::trim) == Some("ready") {
                    return Ok(());
                }
                if let Some(status) = self.child.try_wait()? {
                    anyhow::bail!("PostgreSQL ended with {status}");
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_millis(START_MAX_MS), ready)
            .await
            .context("PostgreSQL did not become ready")?
    }

    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        // Fast shutdown: does not wait for clients.
        signal(&self.child, rustix::process::Signal::INT)?;
        self.child.wait().await?;
        Ok(())
    }
}

fn become_user(mut command: Command, user: Option<(u32, u32)>) -> Command {
    if let Some((user, group)) = user {
        command.uid(user).gid(group);
    }
    command
}

fn program(name: &str) -> anyhow::Result<PathBuf> {
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    let mut debian: Vec<PathBuf> = fs::read_dir(DEBIAN_ROOT)
        .into_iter()
        .flatten()
        .flatten()
        .map(|version| version.path().join("bin"))
        .collect();
    // The newest first.
    debian.sort();
    debian.reverse();
    std::env::split_paths(&on_path)
        .chain(debian)
        .map(|directory| directory.join(name))
        .find(|path| path.is_file())
        .with_context(|| {
            format!(
                "{name} is neither on PATH nor in {DEBIAN_ROOT}: install PostgreSQL (Debian's \
                 package is called postgresql), or give --postgres-url"
            )
        })
}

fn unprivileged_user() -> anyhow::Result<Option<(u32, u32)>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd")?;
    let ids = UNPRIVILEGED_USERS.iter().find_map(|wanted| {
        users.lines().find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            let user = fields.nth(1)?.parse().ok()?;
            let group = fields.next()?.parse().ok()?;
            (name == *wanted).then_some((user, group))
        })
    });
    ids.map(Some).with_context(|| {
        format!("PostgreSQL refuses to run as root, and none of {UNPRIVILEGED_USERS:?} exists")
    })
}
