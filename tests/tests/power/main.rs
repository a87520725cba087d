//! The disk that loses what was not synced really does, and nothing else.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test ends with a panic, and what it measured is for whoever reads its output"
)]

mod sidecar;

use std::{
    fs::{self, File, OpenOptions},
    io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use outrigger_sdk::{Client, Message};
use outrigger_tests::{
    chaos::power::{PowerDisk, PowerLibrary},
    sidecar::{Settings, Sidecar},
};
use rustix::process::Signal;
use tempfile::TempDir;

const VICTIM: &str = "OUTRIGGER_TEST_VICTIM";
const BLOCK: usize = 4096;

/// What a test leaves to another process, which is this very program with the disk loaded.
#[test]
fn victim() {
    let Ok(task) = std::env::var(VICTIM) else {
        return;
    };
    let directory = std::env::current_dir().expect("a directory");
    match task.as_str() {
        "write" => write(&directory),
        "many" => write_many(&directory),
        "full" => fill(),
        other => panic!("no task {other}"),
    }
    println!("\nready");
    loop {
        std::thread::park();
    }
}

struct Victim {
    child: Child,
    directory: TempDir,
}

impl Victim {
    /// Starts a task and waits until it is done and waits itself.
    fn run(task: &str, library: Option<&PowerLibrary>, prepare: impl FnOnce(&PowerDisk)) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let data = directory.path().join("data");
        fs::create_dir(&data).expect("a directory");
        let disk = library.map(|library| {
            let control = directory.path().join("control");
            library.disk(&data, &control).expect("a disk")
        });
        let mut command = Command::new(std::env::current_exe().expect("a program"));
        command
            .args(["--exact", "victim", "--nocapture"])
            .env(VICTIM, task)
            .current_dir(&data)
            .stdout(Stdio::piped());
        if let Some(disk) = &disk {
            prepare(disk);
            disk.load(&mut command);
        }
        let mut child = command.spawn().expect("it starts");
        let output = child.stdout.take().expect("piped");
        let ready = BufReader::new(output)
            .lines()
            .map_while(Result::ok)
            .any(|line| line == "ready");
        assert!(ready, "the task {task} failed");
        Self { child, directory }
    }

    fn kill(&mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it ends");
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.directory.path().join("data").join(name)).expect("it is there")
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn library() -> (TempDir, PowerLibrary) {
    let directory = tempfile::tempdir().expect("a directory");
    let library = PowerLibrary::build(directory.path()).expect("cc is there");
    (directory, library)
}

/// Writes in every way there is, and sees its own bytes.
fn write(directory: &Path) {
    let options = || {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true);
        options
    };
    let path = |name: &str| directory.join(name);

    // Positioned writes, some of them synced.
    let file = options().open(path("positioned")).expect("opens");
    file.write_all_at(b"synced bytes", 0).expect("writes");
    file.sync_data().expect("syncs");
    file.write_all_at(b"SYNCED", 0).expect("writes");
    file.write_all_at(b"and more", 12).expect("writes");
    let mut bytes = [0; 20];
    file.read_exact_at(&mut bytes, 0).expect("reads");
    assert_eq!(&bytes, b"SYNCED bytesand more");
    assert_eq!(file.metadata().expect("length").len(), 20);
    assert_eq!(fs::metadata(path("positioned")).expect("length").len(), 20);

    // Through another descriptor, and after the first one is closed.
    drop(file);
    assert_eq!(
        fs::read(path("positioned")).expect("reads"),
        b"SYNCED bytesand more"
    );

    // Nothing synced at all: only the name is there.
    fs::write(path("unsynced"), b"nothing of this").expect("writes");
    assert_eq!(
        fs::read(path("unsynced")).expect("reads"),
        b"nothing of this"
    );

    // One after the other, appended, sought, vectored, synced through a copy.
    let mut file = options().open(path("stream")).expect("opens");
    file.write_all(b"one ").expect("writes");
    file.write_all(b"two ").expect("writes");
    file.seek(SeekFrom::End(-4)).expect("seeks");
    file.write_all(b"three").expect("writes");
    let mut copy = file.try_clone().expect("copies");
    copy.sync_all().expect("syncs");
    copy.write_all(b" lost").expect("writes");
    copy.rewind().expect("seeks");
    let mut text = String::new();
    copy.read_to_string(&mut text).expect("reads");
    assert_eq!(text, "one three lost");
    let mut appended = OpenOptions::new()
        .append(true)
        .open(path("stream"))
        .expect("opens");
    appended.write_all(b", too").expect("writes");
    assert_eq!(appended.metadata().expect("length").len(), 19);

    // Lengths. What is cut comes back, what follows a cut is zero.
    let file = options().open(path("cut")).expect("opens");
    file.write_all_at(b"0123456789", 0).expect("writes");
    file.sync_all().expect("syncs");
    file.set_len(4).expect("cuts");
    file.write_all_at(b"x", 6).expect("writes");
    assert_eq!(fs::read(path("cut")).expect("reads"), b"0123\0\0x");
    let file = options().open(path("cut-and-synced")).expect("opens");
    file.write_all_at(b"0123456789", 0).expect("writes");
    file.set_len(4).expect("cuts");
    file.set_len(6).expect("grows");
    file.sync_all().expect("syncs");

    // Written, renamed into place, synced under its new name through a reading descriptor.
    fs::write(path("new"), b"renamed").expect("writes");
    fs::rename(path("new"), path("place")).expect("renames");
    let file = File::open(path("place")).expect("opens");
    file.sync_all().expect("syncs");

    // A file that takes the inode of one that was removed has nothing of it.
    fs::write(path("old"), b"old").expect("writes");
    fs::remove_file(path("old")).expect("removes");
    let file = options().open(path("reused")).expect("opens");
    assert_eq!(file.metadata().expect("length").len(), 0);
    file.write_all_at(b"y", 0).expect("writes");
    file.sync_all().expect("syncs");
}

#[test]
fn unsynced_bytes_are_gone_and_synced_ones_are_not() {
    let (_directory, library) = library();
    let mut victim = Victim::run("write", Some(&library), |_| {});
    victim.kill();
    assert_eq!(victim.read("positioned"), b"synced bytes");
    assert_eq!(victim.read("unsynced"), b"");
    assert_eq!(victim.read("stream"), b"one three");
    assert_eq!(victim.read("cut"), b"0123456789");
    assert_eq!(victim.read("cut-and-synced"), b"0123\0\0");
    assert_eq!(victim.read("place"), b"renamed");
    assert_eq!(victim.read("reused"), b"y");
}

#[test]
fn without_the_disk_or_when_it_lets_through_nothing_is_gone() {
    let (_directory, library) = library();
    let through = |disk: &PowerDisk| disk.set_volatile(false).expect("it can be set");
    for library in [None, Some(&library)] {
        let mut victim = Victim::run("write", library, through);
        victim.kill();
        assert_eq!(victim.read("positioned"), b"SYNCED bytesand more");
        assert_eq!(victim.read("unsynced"), b"nothing of this");
        assert_eq!(victim.read("stream"), b"one three lost, too");
        assert_eq!(victim.read("cut"), b"0123\0\0x");
        assert_eq!(victim.read("cut-and-synced"), b"0123\0\0");
        assert_eq!(victim.read("place"), b"renamed");
    }
}

/// 64 synced blocks, and 1,024 unsynced ones over and behind them.
fn write_many(directory: &Path) {
    let path = directory.join("many");
    let file = File::create_new(path).expect("opens");
    file.write_all_at(&[1; 64 * BLOCK], 0).expect("writes");
    file.sync_all().expect("syncs");
    for block in 0..1024 {
        let offset = (block * BLOCK) as u64;
        file.write_all_at(&[2; BLOCK], offset).expect("writes");
    }
}

#[test]
fn a_part_of_the_unsynced_blocks_may_be_there_all_the_same() {
    let (_directory, library) = library();
    let leaking = |disk: &PowerDisk| disk.set_leaking(64).expect("it can be set");
    let mut victim = Victim::run("many", Some(&library), leaking);
    victim.kill();
    let bytes = victim.read("many");
    let blocks: Vec<_> = bytes.chunks(BLOCK).map(|block| block[0]).collect();
    let leaked = blocks.iter().filter(|first| **first == 2).count();
    assert!((100..=500).contains(&leaked), "{leaked} of 1,024 blocks");
    for (at, first) in blocks.iter().enumerate() {
        let unwritten = if at < 64 { 1 } else { 0 };
        assert!(*first == 2 || *first == unwritten, "block {at}: {first}");
    }
}

/// The files of a directory, and of those in it, that have anything in them.
fn written(directory: &Path) -> Vec<(PathBuf, u64)> {
    let entries = fs::read_dir(directory).expect("a directory");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths
        .flat_map(|path| match path.is_dir() {
            true => written(&path),
            false => vec![(path.clone(), fs::metadata(&path).expect("a file").len())],
        })
        .filter(|(_, bytes)| *bytes > 0)
        .collect()
}

async fn publish(sidecar: &Sidecar, count: usize) {
    let client = Client::connect(sidecar.uri()).await.expect("an address");
    let producer = client.producer("power");
    let messages = (0..count).map(|_| Message::new("power", vec![7; 1_000]));
    for receipt in producer.send_all(messages).await {
        receipt.expect("it is stored");
    }
}

/// Whatever reached a file would have gone past the library, and power could not take it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sidecar_writes_nothing_past_the_disk() {
    let (_directory, library) = library();
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().join("data");
    fs::create_dir(&data).expect("a directory");
    let control = directory.path().join("control");
    let disk = library.disk(&data, &control).expect("a disk");
    disk.set_lying().expect("it can be set");
    let mut settings = Settings::new(&data);
    for (name, value) in disk.environment() {
        settings = settings.with_env(name, value.to_str().expect("a name"));
    }
    let mut sidecar = Sidecar::start(settings).expect("it starts");
    // More than the first segment of the log holds. Ending in order writes a checkpoint.
    publish(&sidecar, 6_000).await;
    sidecar.signal(Signal::TERM).expect("it runs");
    let status = sidecar.wait(Duration::from_secs(60)).expect("it ends");
    assert!(status.success(), "{status}");
    let files = fs::read_dir(data.join("wal")).expect("a log").count();
    assert!(files > 1, "{files} files in the log");
    assert_eq!(written(&data), []);
}

/// Tries to use more room than there is.
fn fill() {
    let file = File::create("before").expect("there is room");
    file.write_all_at(&[1; BLOCK], 0).expect("there is room");
    file.sync_all().expect("syncs");
    println!("\nready");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).expect("reads");
    let full = |result: std::io::Result<()>| {
        let error = result.expect_err("there is no room");
        assert_eq!(error.kind(), std::io::ErrorKind::StorageFull, "{error}");
    };
    full(File::create("another").map(drop));
    full(file.write_all_at(&[1; BLOCK], BLOCK as u64));
    full(file.set_len(1 << 20));
    file.write_all_at(&[2; BLOCK], 0)
        .expect("it has this room already");
    file.sync_all().expect("syncs");
    fs::create_dir_all("/tmp").expect("elsewhere there is room");
}

#[test]
fn a_full_disk_takes_what_it_has_room_for() {
    let (_directory, library) = library();
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().join("data");
    fs::create_dir(&data).expect("a directory");
    let control = directory.path().join("control");
    let disk = library.disk(&data, &control).expect("a disk");
    let mut command = Command::new(std::env::current_exe().expect("a program"));
    command
        .args(["--exact", "victim", "--nocapture"])
        .env(VICTIM, "full")
        .current_dir(&data)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    disk.load(&mut command);
    let mut child = command.spawn().expect("it starts");
    let mut input = child.stdin.take().expect("piped");
    let output = child.stdout.take().expect("piped");
    let mut lines = BufReader::new(output).lines().map_while(Result::ok);
    assert!(lines.any(|line| line == "ready"), "it has written");
    disk.set_full(true).expect("it can be set");
    writeln!(input).expect("it reads");
    let is_done = lines.any(|line| line == "ready");
    let _ = child.kill();
    let _ = child.wait();
    assert!(is_done, "the task failed");
    assert_eq!(fs::read(data.join("before")).expect("reads"), [2; BLOCK]);
}
