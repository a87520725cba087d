//! What goes wrong in a run with `--chaos`, and when: all drawn from the seed.

use std::time::Duration;

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use tokio::sync::watch;

use crate::{args::ServiceName, customers::Http, processes::Supervised, shop::Shop};

/// Lives of each service that end in a crash.
const CRASHES_PER_SERVICE: usize = 4;
const SIDECAR_KILLS: usize = 4;
const PAUSES: usize = 2;
/// Of a cluster's nodes, one at a time.
const NODE_KILLS: usize = 3;
const LEADER_KILLS: usize = 3;
/// How long a node may take to be ready again before the next one is killed.
const NODE_READY_MAX: Duration = Duration::from_secs(30);
/// Longer than the time after which the sidecar checks back for the first time (1 s), so
/// that it checks back on transactions that have not even begun.
const PAUSE_MS: std::ops::Range<u64> = 1_600..2_600;
/// A kill comes so much after its order, to hit other moments than an answer.
const KILL_DELAY_MAX_MS: u64 = 30;

#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Plan {
    /// For each life of the order service: after how many local commits it dies, before the
    /// sidecar is told.
    pub(crate) order_crashes: Vec<u64>,
    /// For each life of a consumer: after how many effects it dies, before the ack.
    pub(crate) stock_crashes: Vec<u64>,
    pub(crate) points_crashes: Vec<u64>,
    pub(crate) payments_crashes: Vec<u64>,
    /// In order of `at_answered`.
    events: Vec<Event>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Event {
    /// When so many orders have been answered.
    at_answered: usize,
    delay: Duration,
    kind: EventKind,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum EventKind {
    /// The n-th one, counted round.
    KillSidecar(usize),
    /// With this number.
    KillNode(u64),
    /// Whoever leads then.
    KillLeader,
    PauseOrderService(Duration),
}

impl Plan {
    /// Of a run on so many nodes; 0 when the sidecar has a log of its own.
    pub(crate) fn draw(seed: u64, orders: usize, nodes: u8) -> Self {
        let mut random = StdRng::seed_from_u64(seed ^ 0x0C_1A05);
        // All lives together are shorter than the run, so that every crash comes.
        let life_max = (orders / (2 * CRASHES_PER_SERVICE)).max(1) as u64;
        let mut lives = || -> Vec<u64> {
            (0..CRASHES_PER_SERVICE)
                .map(|_| random.random_range(1..=life_max))
                .collect()
        };
        let (order_crashes, stock_crashes, points_crashes) = (lives(), lives(), lives());
        let mut events: Vec<Event> = (0..SIDECAR_KILLS + PAUSES)
            .map(|number| Event {
                at_answered: random.random_range(0..orders.max(1) * 9 / 10 + 1),
                delay: Duration::from_millis(random.random_range(0..KILL_DELAY_MAX_MS)),
                kind: if number < SIDECAR_KILLS {
                    EventKind::KillSidecar(number)
                } else {
                    let pause = Duration::from_millis(random.random_range(PAUSE_MS));
                    EventKind::PauseOrderService(pause)
                },
            })
            .collect();
        if nodes > 0 {
            events.extend((0..NODE_KILLS + LEADER_KILLS).map(|number| Event {
                at_answered: random.random_range(0..orders.max(1) * 9 / 10 + 1),
                delay: Duration::from_millis(random.random_range(0..KILL_DELAY_MAX_MS)),
                kind: if number < NODE_KILLS {
                    EventKind::KillNode(random.random_range(1..=u64::from(nodes)))
                } else {
                    EventKind::KillLeader
                },
            }));
        }
        events.sort_by_key(|event| event.at_answered);
        // Drawn last, so that the seeds of runs without payments mean what they meant.
        let payments_crashes = (0..CRASHES_PER_SERVICE)
            .map(|_| random.random_range(1..=life_max))
            .collect();
        Self {
            order_crashes,
            stock_crashes,
            points_crashes,
            payments_crashes,
            events,
        }
    }

    /// In which moments the lives of a service end.
    pub(crate) fn crashes(&self, service: ServiceName) -> &[u64] {
        match service {
            ServiceName::Order => &self.order_crashes,
            ServiceName::Stock => &self.stock_crashes,
            ServiceName::Points => &self.points_crashes,
            ServiceName::Payments => &self.payments_crashes,
        }
    }

    /// Lets it happen, as orders are answered.
    pub(crate) async fn carry_out(
        &self,
        mut answered: watch::Receiver<usize>,
        shop: &Shop,
        http: &Http,
    ) -> anyhow::Result<()> {
        for event in &self.events {
            let reached = answered.wait_for(|answered| *answered >= event.at_answered);
            if reached.await.is_err() {
                return Ok(());
            }
            tokio::time::sleep(event.delay).await;
            match event.kind {
                EventKind::KillSidecar(number) => {
                    let place = number % shop.sidecars.len().max(1);
                    if let Some(sidecar) = shop.sidecars.get(place) {
                        sidecar.process.kill().await;
                    }
                }
                EventKind::PauseOrderService(time) => shop.order().pause(time).await,
                EventKind::KillNode(id) => {
                    self.wait_for_all(shop, http).await?;
                    kill(shop.cluster.node(id)).await;
                }
                EventKind::KillLeader => {
                    self.wait_for_all(shop, http).await?;
                    // Nobody leads just now when it cannot be told.
                    if let Ok(health) = shop.client().await?.admin().health().await {
                        kill(shop.cluster.node(health.node_id)).await;
                    }
                }
            }
        }
        Ok(())
    }

    /// A majority has to be there, or the run only waits.
    async fn wait_for_all(&self, shop: &Shop, http: &Http) -> anyhow::Result<()> {
        for url in shop.cluster.ready_urls() {
            http.wait_until_ready(&url, NODE_READY_MAX).await?;
        }
        Ok(())
    }
}

async fn kill(node: Option<&Supervised>) {
    if let Some(node) = node {
        node.kill().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_everything_and_everything_comes_during_the_run() {
        assert_eq!(Plan::draw(7, 5_000, 3), Plan::draw(7, 5_000, 3));
        assert_ne!(Plan::draw(7, 5_000, 3), Plan::draw(8, 5_000, 3));
        for seed in 0..200 {
            for orders in [1, 10, 5_000] {
                let plan = Plan::draw(seed, orders, 3);
                assert!(plan.events.iter().all(|event| event.at_answered <= orders));
                let lives: u64 = plan.order_crashes.iter().sum();
                assert!(orders < 10 || lives <= orders as u64);
            }
        }
    }
}
