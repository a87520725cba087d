//! The form of a floor checkpoint: magic, header, records, and an end with a checksum of it
//! all. Every part stands behind its length.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use xxhash_rust::xxh3::Xxh3;

use super::FloorHeader;
use crate::raft::{LogId, StoredMembership};

/// Names the format.
const MAGIC: &[u8; 8] = b"orfloor1";
/// In the place of a key's length: the records end here.
const END: u32 = u32::MAX;
/// The largest part that is taken for one.
const PART_BYTES_MAX: u32 = 256 << 20;
const BUFFER_BYTES: usize = 256 << 10;

/// Where a floor checkpoint is to be written.
#[derive(Debug)]
pub(crate) struct NewFloor {
    unfinished: PathBuf,
    path: PathBuf,
}

/// A floor checkpoint that is being written.
pub(crate) struct FloorWriter {
    out: BufWriter<File>,
    hasher: Xxh3,
    new: NewFloor,
    records: u64,
}

impl NewFloor {
    pub(super) fn new(unfinished: PathBuf, path: PathBuf) -> Self {
        Self { unfinished, path }
    }

    /// Begins to write.
    pub(crate) fn begin(self, header: &FloorHeader) -> io::Result<FloorWriter> {
        let file = File::create(&self.unfinished)?;
        let mut writer = FloorWriter {
            out: BufWriter::with_capacity(BUFFER_BYTES, file),
            hasher: Xxh3::new(),
            new: self,
            records: 0,
        };
        let header = header.encode();
        writer.put(MAGIC)?;
        writer.put(&(header.len() as u32).to_le_bytes())?;
        writer.put(&header)?;
        Ok(writer)
    }
}

impl FloorWriter {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.out.write_all(bytes)
    }

    /// Adds a record.
    pub(crate) fn record(&mut self, key: &[u8], record: &[u8]) -> io::Result<()> {
        self.put(&(key.len() as u32).to_le_bytes())?;
        self.put(&(record.len() as u32).to_le_bytes())?;
        self.put(key)?;
        self.put(record)?;
        self.records += 1;
        Ok(())
    }

    /// Makes the file durable, and only then gives it its name.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.put(&END.to_le_bytes())?;
        let records = self.records;
        self.put(&records.to_le_bytes())?;
        let digest = self.hasher.digest128();
        self.out.write_all(&digest.to_le_bytes())?;
        let file = self.out.into_inner().map_err(|error| error.into_error())?;
        file.sync_all()?;
        std::fs::rename(&self.new.unfinished, &self.new.path)?;
        sync_parent(&self.new.path)
    }
}

pub(super) fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

/// A floor checkpoint, open for reading. It can be read to its end even when it is removed
/// meanwhile.
#[derive(Clone, Debug)]
pub(crate) struct FloorFile {
    /// Nothing when it is lost.
    file: Option<Arc<File>>,
    pub(super) path: PathBuf,
    pub(crate) header: FloorHeader,
}

impl FloorFile {
    /// Opens a file and reads what it is of.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let header = Parts::new(&file).header()?;
        Ok(Self {
            file: Some(Arc::new(file)),
            path: path.to_owned(),
            header,
        })
    }

    /// The one that the log begins at, where there is none any more. It can be spoken of; every
    /// attempt to read it fails.
    pub(crate) fn lost(applied: LogId) -> Self {
        let membership = StoredMembership::default();
        Self {
            file: None,
            path: PathBuf::new(),
            header: FloorHeader {
                applied,
                membership,
            },
        }
    }

    fn file(&self) -> io::Result<&File> {
        self.file.as_deref().ok_or_else(|| {
            let message = "the floor checkpoint that the log begins at is lost";
            io::Error::new(io::ErrorKind::NotFound, message)
        })
    }

    /// How long the file is.
    pub(crate) fn bytes(&self) -> io::Result<u64> {
        Ok(self.file()?.metadata()?.len())
    }

    /// A part of the file as it is, for sending it; shorter at its end, but
    /// never empty.
    pub(crate) fn chunk(&self, offset: u64, bytes: usize) -> io::Result<Vec<u8>> {
        let mut chunk = Vec::with_capacity(bytes);
        let file = self.file()?;
        let count = At { file, offset }
            .take(bytes as u64)
            .read_to_end(&mut chunk)?;
        match count {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(chunk),
        }
    }

    /// Reads through all of it and compares the checksum.
    pub(crate) fn verify(&self) -> io::Result<()> {
        self.records(|_, _| Ok(()))
    }

    /// Hands out every record in order. Fails at the end when the checksum is another one.
    pub(crate) fn records(
        &self,
        mut each: impl FnMut(Vec<u8>, Vec<u8>) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut parts = Parts::new(self.file()?);
        parts.header()?;
        let mut records = 0_u64;
        loop {
            let key_bytes = parts.number()?;
            if key_bytes == END {
                break;
            }
            let record_bytes = parts.number()?;
            let key = parts.part(key_bytes)?;
            each(key, parts.part(record_bytes)?)?;
            records += 1;
        }
        parts.end(records)
    }
}

/// Reads a file that others may be reading as well.
struct At<'a> {
    file: &'a File,
    offset: u64,
}

impl Read for At<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(bytes, self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}

/// Reads part by part, and counts the checksum.
struct Parts<'a> {
    input: BufReader<At<'a>>,
    hasher: Xxh3,
}

impl<'a> Parts<'a> {
    fn new(file: &'a File) -> Self {
        Self {
            input: BufReader::with_capacity(BUFFER_BYTES, At { file, offset: 0 }),
            hasher: Xxh3::new(),
        }
    }

    fn fixed<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.input.read_exact(&mut bytes)?;
        self.hasher.update(&bytes);
        Ok(bytes)
    }

    fn number(&mut self) -> io::Result<u32> {
        Ok(u32::from_le_bytes(self.fixed()?))
    }

    fn part(&mut self, bytes: u32) -> io::Result<Vec<u8>> {
        if bytes > PART_BYTES_MAX {
            return Err(damaged("a part is too long"));
        }
        let mut part = Vec::new();
        let mut limited = (&mut self.input).take(u64::from(bytes));
        limited.read_to_end(&mut part)?;
        if part.len() as u64 != u64::from(bytes) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.hasher.update(&part);
        Ok(part)
    }

    fn header(&mut self) -> io::Result<FloorHeader> {
        if self.fixed::<8>()? != *MAGIC {
            return Err(damaged("it does not begin as a floor checkpoint"));
        }
        let bytes = self.number()?;
        let header = self.part(bytes)?;
        FloorHeader::decode(&header).map_err(|_| damaged("the header cannot be read"))
    }

    fn end(mut self, records: u64) -> io::Result<()> {
        if u64::from_le_bytes(self.fixed()?) != records {
            return Err(damaged("records are missing"));
        }
        let expected = self.hasher.digest128();
        if u128::from_le_bytes(self.fixed()?) != expected {
            return Err(damaged("the checksum is another one"));
        }
        match self.input.read(&mut [0])? {
            0 => Ok(()),
            _ => Err(damaged("there is more behind the end")),
        }
    }
}

fn damaged(what: &'static str) -> io::Error {
    let message = format!("the floor checkpoint is damaged: {what}");
    io::Error::new(io::ErrorKind::InvalidData, message)
}
