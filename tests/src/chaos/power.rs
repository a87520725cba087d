//! A disk that loses what was not synced, for one process: `tests/power/power.c`, loaded
//! before the C library.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context as _;

const SOURCE: &str = include_str!("../../power/power.c");
/// What the control file consists of; `power.c` says what the bytes mean.
const CONTROL_BYTES: [u8; 3] = [b'b', 0, 0];

/// The compiled library.
#[derive(Clone, Debug)]
pub struct PowerLibrary {
    path: PathBuf,
}

/// The disk of one process.
#[derive(Debug)]
pub struct PowerDisk {
    library: PathBuf,
    directory: PathBuf,
    control: PathBuf,
    file: File,
}

impl PowerLibrary {
    /// Compiles the library with the system's C compiler, `cc`.
    ///
    /// # Errors
    ///
    /// When there is none, or it refuses.
    pub fn build(directory: &Path) -> anyhow::Result<Self> {
        let source = directory.join("power.c");
        let path = directory.join("power.so");
        fs::write(&source, SOURCE)?;
        let output = Command::new("cc")
            .args(["-O2", "-shared", "-fPIC", "-o"])
            .args([&path, &source])
            .args(["-ldl", "-lpthread"])
            .output()
            .context("power loss needs a C compiler named cc")?;
        anyhow::ensure!(
            output.status.success(),
            "cc: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(Self { path })
    }

    /// A disk for the process that keeps its files below `directory`, which has to be there.
    ///
    /// # Errors
    ///
    /// When the control file, `control`, cannot be written.
    pub fn disk(&self, directory: &Path, control: &Path) -> io::Result<PowerDisk> {
        let file = File::create(control)?;
        file.write_all_at(&CONTROL_BYTES, 0)?;
        Ok(PowerDisk {
            library: self.path.clone(),
            directory: directory.canonicalize()?,
            control: control.to_owned(),
            file,
        })
    }
}

impl PowerDisk {
    /// Gives the disk to a process that is about to start.
    pub fn load(&self, command: &mut Command) {
        command.envs(self.environment());
    }

    /// The environment of a process that is to have this disk.
    pub fn environment(&self) -> [(&'static str, &Path); 3] {
        [
            ("LD_PRELOAD", &self.library),
            ("POWER_DISK_DIRECTORY", &self.directory),
            ("POWER_DISK_CONTROL", &self.control),
        ]
    }

    /// Whether kill -9 drops what is not synced, which is so at first; otherwise it survives,
    /// as when only the process dies and the machine goes on.
    ///
    /// # Errors
    ///
    /// When the control file cannot be written, as for the others.
    pub fn set_volatile(&self, volatile: bool) -> io::Result<()> {
        let byte = if volatile { b'b' } else { b't' };
        self.file.write_all_at(&[byte], 0)
    }

    /// Makes it a disk that lies: kill -9 drops even what was synced.
    ///
    /// # Errors
    ///
    /// As [`PowerDisk::set_volatile`].
    pub fn set_lying(&self) -> io::Result<()> {
        self.file.write_all_at(b"h", 0)
    }

    /// Whether the disk is full: nothing can be created and no file can grow.
    ///
    /// # Errors
    ///
    /// As [`PowerDisk::set_volatile`].
    pub fn set_full(&self, full: bool) -> io::Result<()> {
        let byte = if full { b'f' } else { 0 };
        self.file.write_all_at(&[byte], 1)
    }

    /// How many of 256 written blocks of 4 KiB reach the disk before they are synced, in no
    /// order.
    ///
    /// # Errors
    ///
    /// As [`PowerDisk::set_volatile`].
    pub fn set_leaking(&self, blocks: u8) -> io::Result<()> {
        self.file.write_all_at(&[blocks], 2)
    }
}
