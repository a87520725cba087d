//! A damaged log is made good from the other nodes.

use std::{fs, os::unix::fs::FileExt as _, path::Path};

use outrigger_tests::cluster::Cluster;

use crate::load::{Load, check, client};

/// Flips a bit in the older half of the log, which was synced long ago.
pub(crate) fn damage(data: &Path) -> anyhow::Result<()> {
    let mut segments: Vec<_> = fs::read_dir(data.join("wal"))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "wal"))
        .collect();
    segments.sort();
    let segment = segments.first().expect("a segment");
    let bytes = fs::read(segment)?;
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0);
    anyhow::ensure!(used > 100_000, "only {used} bytes");
    let file = fs::File::options().write(true).open(segment)?;
    let place = used / 4;
    file.write_all_at(&[bytes[place] ^ 1], place as u64)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_node_is_repaired_by_the_others() -> anyhow::Result<()> {
    let mut cluster = Cluster::start(3).await?;
    let others = vec![cluster.uri(1), cluster.uri(2)];
    let load = Load::start(others).await;
    load.goes_on(3_000).await;

    cluster.kill(3)?;
    damage(&cluster.data(3))?;
    cluster.start_node(3).await?;
    cluster
        .printed(3, "the log is damaged; it is set aside")
        .await?;
    cluster.printed(3, "repaired, and a voter again").await?;
    let kept = fs::read_dir(cluster.data(3))?
        .filter_map(Result::ok)
        .any(|entry| {
            entry
                .file_name()
                .to_string_lossy()
                .starts_with("quarantine-")
        });
    assert!(kept, "nothing is deleted");

    load.goes_on(500).await;
    let told = load.stop().await;
    cluster.agree(&[1, 2, 3]).await?;
    // It counts again: without it there would be no majority now.
    let dead = cluster.leader().await?;
    let dead = if dead == 3 { 1 } else { dead };
    cluster.kill(dead)?;
    check(&client(cluster.uri(3)).await, &told).await;
    // And it starts as any other.
    cluster.start_node(dead).await?;
    cluster.restart(3).await?;
    cluster.agree(&[1, 2, 3]).await
}
