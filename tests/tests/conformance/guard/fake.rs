use std::sync::Arc;

use outrigger::guards::{FakeGuards, GuardStore};

use super::{Backend, conformance};

struct Fake(Arc<FakeGuards>);

impl Backend for Fake {
    async fn start() -> anyhow::Result<Self> {
        Ok(Self(Arc::new(FakeGuards::new())))
    }

    fn store(&self) -> Arc<dyn GuardStore> {
        self.0.clone()
    }
}

conformance!(Fake);
