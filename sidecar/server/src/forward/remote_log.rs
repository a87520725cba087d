use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures::{
    StreamExt as _,
    future::{BoxFuture, FutureExt as _, ready},
    stream,
};
use outrigger_core::half_message::Verdict;
use outrigger_log::TransactionId;
use outrigger_proto::{
    cluster::{self, WaitingRequest, cluster_client::ClusterClient},
    stored,
    v1::{self, admin_client::AdminClient, producer_client::ProducerClient},
};
use tokio::time::{Instant, sleep};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use uuid::Uuid;

use super::{Forward, PortLayer, Ways, data_group};
use crate::{
    check_back::{NotRecorded, Oldest, TransactionLog, WaitingTransaction},
    clock::now_ms,
};

/// How the transactions are followed that a sidecar can check.
#[derive(Clone, Debug)]
pub struct RemoteLogOptions {
    /// How often the leader is asked for them. Default 100.
    pub poll_interval_ms: u64,
    /// Transactions that are known here at a time, the oldest ones. Default 100,000.
    pub transactions_max: usize,
    /// Transactions in one answer. Default 10,000.
    pub page_transactions_max: u32,
    /// Questions about single transactions that are asked at a time. Default 32.
    pub questions_max: usize,
}

impl Default for RemoteLogOptions {
    fn default() -> Self {
        Self {
            poll_interval_ms: 100,
            transactions_max: 100_000,
            page_transactions_max: 10_000,
            questions_max: 32,
        }
    }
}

/// The cluster's log, as far as check-back in a sidecar needs it: the half-messages of some
/// producer groups that wait for their verdict, as the leader told them lately.
///
/// What was resolved meanwhile may still be named: asking about it changes nothing. Parking is
/// the leader's own business, which counts the time from Prepare for every transaction.
pub struct RemoteLog {
    options: RemoteLogOptions,
    producer_groups: Vec<String>,
    /// Younger ones are not asked about yet, and there may be many.
    age_ms_min: u64,
    ports: PortLayer,
    view: Mutex<View>,
}

#[derive(Default)]
struct View {
    in_order: BTreeMap<u64, WaitingTransaction>,
    places: BTreeMap<TransactionId, u64>,
}

impl RemoteLog {
    /// Nothing is known before [`Self::keep_up`] runs.
    #[must_use]
    pub fn new(
        ports: PortLayer,
        producer_groups: Vec<String>,
        age_ms_min: u64,
        options: RemoteLogOptions,
    ) -> Self {
        Self {
            options,
            producer_groups,
            age_ms_min,
            ports,
            view: Mutex::default(),
        }
    }

    /// Keeps the view up to date until it is dropped.
    pub async fn keep_up(self: Arc<Self>) {
        loop {
            let began = Instant::now();
            let view = self.look().await;
            *self.view() = view;
            // A long list is not asked for all the time.
            let pause = Duration::from_millis(self.options.poll_interval_ms).max(began.elapsed());
            sleep(pause).await;
        }
    }

    /// Of a data group whose leader does not answer, what was known stays.
    async fn look(&self) -> View {
        let ways = self.ports.ways().await;
        let mut view = View::default();
        for group in 0..ways.groups() {
            if let Err(status) = self.look_at(&ways, group, &mut view).await {
                tracing::debug!(group, %status, "the leader does not tell what waits");
                let groups = ways.groups();
                view.keep(&self.view(), Place { group, groups });
            }
        }
        view
    }

    async fn look_at(&self, ways: &Ways, group: u32, view: &mut View) -> Result<(), Status> {
        // Ages are by the leader's clock; what is told here is by ours.
        let clock = self.page(ways, group, 0, 1, 1).await?;
        let prepared_before_ms = clock.now_ms.saturating_sub(self.age_ms_min).max(1);
        let behind_ms = i128::from(now_ms()) - i128::from(clock.now_ms);
        let place = Place {
            group,
            groups: ways.groups(),
        };
        let share = self.options.transactions_max / ways.groups() as usize;
        let full = view.in_order.len() + share.max(1);
        let mut after = 0;
        loop {
            let limit = self.options.page_transactions_max;
            let page = self.page(ways, group, after, limit, prepared_before_ms);
            let page = page.await?;
            let count = page.transactions.len();
            for transaction in page.transactions {
                after = transaction.sequence;
                view.add(transaction, behind_ms, place);
            }
            let is_full = view.in_order.len() >= full;
            if count < limit as usize || is_full {
                return Ok(());
            }
        }
    }

    async fn page(
        &self,
        ways: &Ways,
        data_group: u32,
        after_sequence: u64,
        limit: u32,
        prepared_before_ms: u64,
    ) -> Result<cluster::WaitingResponse, Status> {
        let request = WaitingRequest {
            producer_groups: self.producer_groups.clone(),
            limit,
            after_sequence,
            prepared_before_ms,
            data_group,
        };
        let leader = way(ways, data_group)?;
        let mut client = ClusterClient::new(leader).max_decoding_message_size(usize::MAX);
        Ok(client.waiting(request).await?.into_inner())
    }

    /// When the oldest of each producer group was prepared, of one data group.
    async fn oldest_in(&self, ways: &Ways, group: u32) -> Result<Oldest, Status> {
        let mut oldest = Oldest::new();
        let mut after = 0;
        let limit = self.options.page_transactions_max;
        while oldest.len() < self.producer_groups.len() {
            let page = self.page(ways, group, after, limit, 0).await?;
            let behind_ms = i128::from(now_ms()) - i128::from(page.now_ms);
            for transaction in &page.transactions {
                after = transaction.sequence;
                let at_ms = i128::from(transaction.prepared_at_ms) + behind_ms;
                let at_ms = u64::try_from(at_ms.max(0)).unwrap_or(u64::MAX);
                oldest
                    .entry(transaction.producer_group.as_str().into())
                    .or_insert(at_ms);
            }
            if page.transactions.len() < limit as usize {
                break;
            }
        }
        Ok(oldest)
    }

    /// Whether the leader waits for the verdict of a transaction.
    async fn is_waiting(&self, id: TransactionId) -> Result<bool, Status> {
        let mut client = AdminClient::new(self.way_of(id).await?);
        let request = v1::ShowTransactionRequest {
            transaction_id: name(id),
        };
        match client.show_transaction(request).await {
            Ok(transaction) => Ok(match transaction.into_inner().state() {
                v1::TransactionState::Committed | v1::TransactionState::RolledBack => false,
                v1::TransactionState::Prepared
                | v1::TransactionState::Parked
                | v1::TransactionState::Unspecified => true,
            }),
            Err(status) if status.code() == Code::NotFound => Ok(false),
            Err(status) => Err(status),
        }
    }

    async fn record(
        &self,
        id: TransactionId,
        verdict: Verdict,
        payload: Option<Bytes>,
    ) -> Result<(), NotRecorded> {
        let request = v1::ResolveRequest {
            transaction_id: name(id),
            verdict: match verdict {
                Verdict::Commit => v1::Verdict::Commit,
                Verdict::Rollback => v1::Verdict::Rollback,
            }
            .into(),
            payload,
        };
        let recorded = async {
            let mut client = ProducerClient::new(self.way_of(id).await?);
            client.resolve(request).await.map(drop)
        };
        let recorded = recorded.await;
        let recorded = recorded.map_err(|status| not_recorded(&status));
        match &recorded {
            Ok(()) | Err(NotRecorded::Settled(_) | NotRecorded::Contradiction(_)) => {
                self.view().remove(id);
            }
            Err(NotRecorded::PayloadMissing(_) | NotRecorded::Later(_)) => {}
        }
        recorded
    }

    /// The way to where a transaction is decided.
    async fn way_of(&self, id: TransactionId) -> Result<Forward, Status> {
        let ways = self.ports.ways().await;
        way(&ways, ways.placement().transaction(id.0))
    }

    fn view(&self) -> MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// From the order of preparation in one data group to one among all of them.
#[derive(Clone, Copy)]
struct Place {
    group: u32,
    groups: u32,
}

impl Place {
    fn among_all(self, sequence: u64) -> u64 {
        let before = sequence.saturating_mul(u64::from(self.groups));
        before.saturating_add(u64::from(self.group))
    }

    /// Whether a place among all is one of this data group.
    fn has(self, sequence: u64) -> bool {
        sequence % u64::from(self.groups.max(1)) == u64::from(self.group)
    }
}

impl View {
    fn add(&mut self, told: cluster::WaitingTransaction, behind_ms: i128, place: Place) {
        let Ok(id) = Uuid::parse_str(&told.transaction_id) else {
            tracing::error!(id = told.transaction_id, "the leader named no transaction");
            return;
        };
        let here = |at_ms: u64| {
            let at_ms = i128::from(at_ms) + behind_ms;
            u64::try_from(at_ms.max(0)).unwrap_or(u64::MAX)
        };
        let id = TransactionId(id.as_u128());
        let sequence = place.among_all(told.sequence);
        self.places.insert(id, sequence);
        self.in_order.insert(
            sequence,
            WaitingTransaction {
                sequence,
                id,
                producer_group: told.producer_group.into(),
                prepared_at_ms: here(told.prepared_at_ms),
                waiting_since_ms: here(told.waiting_since_ms),
                parked: told.parked,
            },
        );
    }

    /// Takes over what another view knows of one data group.
    fn keep(&mut self, known: &Self, place: Place) {
        let here = known.in_order.iter();
        for (sequence, waiting) in here.filter(|(sequence, _)| place.has(**sequence)) {
            self.places.insert(waiting.id, *sequence);
            self.in_order.insert(*sequence, waiting.clone());
        }
    }

    fn remove(&mut self, id: TransactionId) {
        if let Some(sequence) = self.places.remove(&id) {
            self.in_order.remove(&sequence);
        }
    }
}

impl TransactionLog for RemoteLog {
    fn waiting(
        &self,
        after_sequence: u64,
        prepared_before_ms: u64,
        limit: usize,
    ) -> Vec<WaitingTransaction> {
        let view = self.view();
        let later = view.in_order.range(after_sequence.saturating_add(1)..);
        later
            .map(|(_, transaction)| transaction)
            .take_while(|transaction| transaction.prepared_at_ms < prepared_before_ms)
            .take(limit)
            .cloned()
            .collect()
    }

    fn find(&self, id: TransactionId) -> Option<WaitingTransaction> {
        let view = self.view();
        let sequence = view.places.get(&id)?;
        view.in_order.get(sequence).cloned()
    }

    /// Those that are asked about here are asked in their database, which has no use for them.
    fn messages(&self, _id: TransactionId) -> BoxFuture<'_, Vec<stored::Message>> {
        ready(Vec::new()).boxed()
    }

    fn resolve(
        &self,
        id: TransactionId,
        verdict: Verdict,
        payload: Option<Bytes>,
    ) -> BoxFuture<'_, Result<(), NotRecorded>> {
        self.record(id, verdict, payload).boxed()
    }

    fn park(&self, _id: TransactionId) -> BoxFuture<'_, Result<(), NotRecorded>> {
        let why = "the cluster parks it when its time has come".to_owned();
        ready(Err(NotRecorded::Later(why))).boxed()
    }

    fn oldest_waiting(self: Arc<Self>, _page_max: usize) -> BoxFuture<'static, Option<Oldest>> {
        async move {
            let ways = self.ports.ways().await;
            let mut oldest = Oldest::new();
            for group in 0..ways.groups() {
                for (producer_group, at_ms) in self.oldest_in(&ways, group).await.ok()? {
                    let known = oldest.entry(producer_group).or_insert(at_ms);
                    *known = at_ms.min(*known);
                }
            }
            Some(oldest)
        }
        .boxed()
    }

    fn waiting_among(
        self: Arc<Self>,
        ids: Vec<TransactionId>,
    ) -> BoxFuture<'static, Option<BTreeSet<TransactionId>>> {
        async move {
            let at_once = self.options.questions_max.max(1);
            let mut asked = stream::iter(ids)
                .map(|id| {
                    let log = Arc::clone(&self);
                    async move { (id, log.is_waiting(id).await) }
                })
                .buffer_unordered(at_once);
            let mut waiting = BTreeSet::new();
            while let Some((id, answer)) = asked.next().await {
                if answer.ok()? {
                    waiting.insert(id);
                }
            }
            Some(waiting)
        }
        .boxed()
    }
}

fn way(ways: &Ways, group: u32) -> Result<Forward, Status> {
    let way = ways.way(group).cloned();
    way.ok_or_else(|| data_group::unknown(group, ways.groups()).into())
}

fn name(id: TransactionId) -> String {
    Uuid::from_u128(id.0).to_string()
}

fn not_recorded(status: &Status) -> NotRecorded {
    let info = status.get_details_error_info();
    let why = status.message().to_owned();
    match info.as_ref().map(|info| info.reason.as_str()) {
        Some("TRANSACTION_NOT_FOUND" | "TRANSACTION_RESOLVED") => NotRecorded::Settled(why),
        Some("TRANSACTION_CONTRADICTION") => NotRecorded::Contradiction(why),
        Some("PAYLOAD_MISSING") => NotRecorded::PayloadMissing(why),
        Some(_) | None => NotRecorded::Later(why),
    }
}
