//! What the disk itself costs.

use std::{
    fs::{File, OpenOptions},
    io::Write as _,
    os::unix::fs::FileExt as _,
    path::Path,
    time::Instant,
};

/// The median of `fdatasync` after writing 4 KiB into space that was zeroed before, in
/// microseconds: what the log does for a lone message, without the log.
pub(super) fn fdatasync_p50_us(directory: &Path) -> std::io::Result<u64> {
    const SYNCS: u64 = 1_000;
    const BLOCK_BYTES: usize = 4_096;
    let path = directory.join("fdatasync-probe");
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .open(&path)?;
    let block = [0x5a; BLOCK_BYTES];
    for _ in 0..SYNCS {
        file.write_all(&[0; BLOCK_BYTES])?;
    }
    file.sync_all()?;
    let mut took_us = (0..SYNCS)
        .map(|index| sync_block(&file, &block, index * BLOCK_BYTES as u64))
        .collect::<std::io::Result<Vec<u64>>>()?;
    std::fs::remove_file(&path)?;
    took_us.sort_unstable();
    Ok(took_us.get(took_us.len() / 2).copied().unwrap_or_default())
}

fn sync_block(file: &File, block: &[u8], offset: u64) -> std::io::Result<u64> {
    file.write_all_at(block, offset)?;
    let started = Instant::now();
    file.sync_data()?;
    Ok(u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX))
}
