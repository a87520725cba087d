use std::sync::Arc;

use bytes::Bytes;
use outrigger::check_back::fence::{FakeFence, FakeTransaction, FenceChecker, FenceStore};
use uuid::Uuid;

use super::{Application, PRODUCER_GROUP, Taken, conformance};

impl Application for FakeFence {
    type Transaction = FakeTransaction;

    async fn start() -> anyhow::Result<Self> {
        Ok(Self::new())
    }

    fn sidecar(&self) -> anyhow::Result<Arc<dyn FenceChecker>> {
        Ok(Arc::new(self.clone()))
    }

    fn store(&self) -> anyhow::Result<Arc<dyn FenceStore>> {
        Ok(Arc::new(self.clone()))
    }

    async fn make_older(&self, id: Uuid, by_ms: u64) -> anyhow::Result<()> {
        FakeFence::make_older(self, id, by_ms);
        Ok(())
    }

    async fn begin(
        &self,
        id: Uuid,
        payload: Option<&[u8]>,
    ) -> anyhow::Result<Result<Self::Transaction, Taken>> {
        let payload = payload.map(Bytes::copy_from_slice);
        Ok(FakeFence::begin(self, id, PRODUCER_GROUP, payload).map_err(|_| Taken))
    }

    async fn commit(transaction: Self::Transaction) -> anyhow::Result<()> {
        transaction.commit();
        Ok(())
    }

    async fn rollback(transaction: Self::Transaction) -> anyhow::Result<()> {
        drop(transaction);
        Ok(())
    }
}

conformance!(FakeFence);
