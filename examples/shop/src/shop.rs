//! The processes of a run.

use std::{net::SocketAddr, path::Path, time::Duration};

use anyhow::Context as _;
use outrigger_sdk::Client;

use crate::{
    args::{Mode, RunArgs, ServiceName},
    chaos::Plan,
    customers::Http,
    processes::{Cluster, Environment, Failures, Service, Sidecar, Supervised, free_address},
    setup::Databases,
};

const READY_MAX: Duration = Duration::from_secs(30);
/// How long a killed process keeps its sagas in runs that kill: short, because every kill
/// waits for it.
const SAGA_LEASE_MS: u64 = 2_000;

/// What all processes of a run have in common.
pub(crate) struct Setting<'a> {
    pub(crate) args: &'a RunArgs,
    /// The sidecar's program.
    pub(crate) binary: &'a Path,
    /// Where they leave their data and output.
    pub(crate) directory: &'a Path,
}

/// The processes of a run.
pub(crate) struct Shop {
    /// Without nodes when the sidecar has a log of its own.
    pub(crate) cluster: Cluster,
    /// One for all services, or one for each of the first three.
    pub(crate) sidecars: Vec<Sidecar>,
    order: Supervised,
    others: Vec<Supervised>,
    order_url: String,
}

impl Shop {
    pub(crate) async fn start(
        setting: &Setting<'_>,
        databases: &Databases,
        plan: &Plan,
        failures: &Failures,
        http: &Http,
    ) -> anyhow::Result<Self> {
        let (cluster, sidecars) = start_log(setting, databases, failures)?;
        for url in cluster
            .ready_urls()
            .chain(sidecars.iter().map(Sidecar::ready_url))
        {
            http.wait_until_ready(&url, READY_MAX).await?;
        }
        let mode = setting.args.mode;
        let addresses = mode
            .services()
            .iter()
            .map(|_| free_address())
            .collect::<anyhow::Result<Vec<SocketAddr>>>()?;
        let uris: Vec<String> = sidecars.iter().map(Sidecar::uri).collect();
        let mut services = Vec::new();
        for (name, listen) in mode.services().iter().zip(&addresses) {
            let uri = uris.get(*name as usize).or(uris.first());
            let service = Service {
                name: *name,
                mode,
                addresses: &addresses,
                listen: *listen,
                database: databases.url(*name),
                sidecar: uri.map_or("", String::as_str),
                crash_at: plan.crashes(*name),
            };
            services.push(service.start(setting.directory, failures)?);
        }
        for address in &addresses {
            http.wait_until_ready(&format!("http://{address}/health"), READY_MAX)
                .await?;
        }
        let order_at = addresses.first().context("there are no services")?;
        Ok(Self {
            cluster,
            sidecars,
            order_url: format!("http://{order_at}/orders"),
            order: services.remove(0),
            others: services,
        })
    }

    /// The log's, through a sidecar.
    pub(crate) async fn client(&self) -> anyhow::Result<Client> {
        let sidecar = self.sidecars.first().context("there is no sidecar")?;
        Ok(Client::connect(sidecar.uri()).await?)
    }

    /// Where orders are placed.
    pub(crate) fn order_url(&self) -> &str {
        &self.order_url
    }

    pub(crate) fn order(&self) -> &Supervised {
        &self.order
    }

    pub(crate) fn kills(&self) -> u64 {
        let sidecars = self.sidecars.iter().map(|sidecar| &sidecar.process);
        let processes = sidecars.chain([&self.order]).chain(&self.others);
        processes.map(Supervised::kills).sum::<u64>() + self.cluster.kills()
    }

    /// The services first, so that their last acks find a sidecar, and the log last.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.order.stop().await?;
        for service in self.others {
            service.stop().await?;
        }
        for sidecar in self.sidecars {
            sidecar.process.stop().await?;
        }
        self.cluster.stop().await
    }
}

/// One sidecar with a log of its own, or a cluster and a sidecar for each of the first three
/// services, in the order of [`ServiceName`].
fn start_log(
    setting: &Setting<'_>,
    databases: &Databases,
    failures: &Failures,
) -> anyhow::Result<(Cluster, Vec<Sidecar>)> {
    let Setting {
        args,
        binary,
        directory,
    } = setting;
    let orders = databases.url(ServiceName::Order);
    let program = || binary.to_path_buf();
    let environment: Environment = match args.mode {
        Mode::Messages => Vec::new(),
        Mode::Saga | Mode::Tcc => vec![("OUTRIGGER_SAGA__LEASE_MS", SAGA_LEASE_MS.to_string())],
    };
    let Some(nodes) = args.cluster else {
        let sidecar = Sidecar::start(
            args.groups,
            program(),
            directory,
            orders,
            &environment,
            failures,
        )?;
        return Ok((Cluster::default(), vec![sidecar]));
    };
    let count = usize::from(nodes);
    let cluster = Cluster::start(
        binary,
        directory,
        count,
        args.groups,
        &environment,
        failures,
    )?;
    let edges = cluster.edges();
    let start = |name| {
        Sidecar::start_before(
            &edges,
            name,
            program(),
            directory,
            orders,
            &environment,
            failures,
        )
    };
    let sidecars = [ServiceName::Order, ServiceName::Stock, ServiceName::Points]
        .map(start)
        .into_iter()
        .collect::<anyhow::Result<_>>()?;
    Ok((cluster, sidecars))
}
