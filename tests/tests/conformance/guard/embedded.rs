use std::sync::Arc;

use outrigger::guards::{EmbeddedGuards, GuardStore};
use outrigger_core::guard::{Input, Mode, Outcome};
use outrigger_log::{Log, Options};
use tempfile::TempDir;

use super::{Backend, conformance};

struct Embedded {
    log: Log,
    directory: TempDir,
}

fn options(directory: &TempDir) -> Options {
    Options {
        wal_segment_bytes: 16 << 20,
        wal_first_segment_bytes: 1 << 20,
        ..Options::new(directory.path())
    }
}

impl Backend for Embedded {
    async fn start() -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let log = Log::open(options(&directory)).await?;
        Ok(Self { log, directory })
    }

    fn store(&self) -> Arc<dyn GuardStore> {
        Arc::new(EmbeddedGuards::new(self.log.clone()))
    }
}

conformance!(Embedded);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_forgets_no_answer() -> anyhow::Result<()> {
    let Embedded { log, directory } = Embedded::start().await?;
    let acquire = |token: &str| Input::Acquire {
        mode: Mode::Record,
        token: token.to_owned(),
        fingerprint: "".into(),
        lease_ms: 600_000,
    };
    let guards = EmbeddedGuards::new(log.clone());
    for key in ["held", "done"] {
        guards.apply("scope", key.into(), acquire("one")).await?;
    }
    let complete = Input::Complete {
        token: "one".to_owned(),
        result: "result".into(),
        ttl_ms: 600_000,
    };
    guards.apply("scope", "done".into(), complete).await?;
    drop(guards);
    log.shutdown().await;

    let guards = EmbeddedGuards::new(Log::open(options(&directory)).await?);
    let held = guards.apply("scope", "held".into(), acquire("two")).await?;
    assert!(matches!(held, Outcome::Busy { .. }), "{held:?}");
    let done = guards.apply("scope", "done".into(), acquire("two")).await?;
    let result = "result".into();
    assert_eq!(done, Outcome::Done { result });
    Ok(())
}
