use std::{
    ffi::OsStr,
    fs,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::Error;

/// How long a server may take until it is ready.
const START_TIMEOUT_MS: u64 = 30_000;
const READY_POLL_MS: u64 = 10;
const OUTPUT_SHOWN_BYTES_MAX: usize = 4_096;

/// Runs the server, waits until this process lets go of its standard input (which the
/// system does even after kill -9), then stops the server and removes its directory.
const SUPERVISOR: &str = r#"
directory=$1; signal=$2; shift 2
trap '' INT TERM
"$@" >"$directory/output" 2>&1 </dev/null &
server=$!
while read -r _; do :; done
kill -s "$signal" "$server" 2>/dev/null
wait "$server"
cd / && rm -rf "$directory"
"#;

/// A server that lives exactly as long as this value, or as this process if that ends
/// first.
pub(super) struct Supervised {
    program: &'static str,
    directory: PathBuf,
    supervisor: Child,
    lifeline: Option<ChildStdin>,
}

impl Supervised {
    /// Starts `command` with `directory` as its place for everything.
    pub(super) fn start(
        program: &'static str,
        directory: TempDir,
        stop_signal: &'static str,
        run_as: Option<(u32, u32)>,
        command: impl IntoIterator<Item = impl AsRef<OsStr>>,
    ) -> Result<Self, Error> {
        let mut supervisor = Command::new("/bin/sh");
        supervisor
            .args(["-c", SUPERVISOR, "supervisor"])
            .arg(directory.path())
            .arg(stop_signal)
            .args(command)
            .current_dir(directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if let Some((user, group)) = run_as {
            supervisor.uid(user).gid(group);
        }
        let mut supervisor = supervisor
            .spawn()
            .map_err(|error| Error::io(format_args!("start {program}"), &error))?;
        let lifeline = supervisor.stdin.take();
        Ok(Self {
            program,
            // From here on the supervisor removes it, also when this process is killed.
            directory: directory.keep(),
            supervisor,
            lifeline,
        })
    }

    /// Waits until `ready` says so.
    pub(super) fn wait_until(self, ready: impl Fn(&Path) -> bool) -> Result<Self, Error> {
        let deadline = Instant::now() + Duration::from_millis(START_TIMEOUT_MS);
        while !ready(&self.directory) {
            if Instant::now() >= deadline || self.gave_up() {
                return Err(Error::NotStarted {
                    program: self.program,
                    output: self.output(),
                });
            }
            thread::sleep(Duration::from_millis(READY_POLL_MS));
        }
        Ok(self)
    }

    /// A server that cannot have its port says so and ends, which its supervisor does not
    /// notice before it is told to stop.
    fn gave_up(&self) -> bool {
        let output = self.output();
        ["could not bind", "Failed listening", "FATAL", "[ERROR]"]
            .iter()
            .any(|sign| output.contains(sign))
    }

    fn output(&self) -> String {
        let output = fs::read(self.directory.join("output")).unwrap_or_default();
        let shown = output.len().saturating_sub(OUTPUT_SHOWN_BYTES_MAX);
        String::from_utf8_lossy(output.get(shown..).unwrap_or_default()).into_owned()
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        drop(self.lifeline.take());
        // Nothing can be done about a supervisor that is gone already.
        let _ = self.supervisor.wait();
    }
}

/// The program on PATH or in one of `further` directories.
pub(super) fn find_program(program: &str, further: &[PathBuf]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(further.iter().cloned())
        .map(|directory| directory.join(program))
        .find(|candidate| candidate.is_file())
}
