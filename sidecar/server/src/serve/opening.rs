use std::sync::Arc;

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tower::Layer as _;

use super::{
    Error,
    gate::{Gate, Stage},
};
use crate::{
    config::Config,
    forward::{self, Forward, ForwardLayer, Forwarder, Opened, PortLayer, Target, Ways},
    options,
    route::{self, Router},
};

/// What is needed to open the port for calls, once it is known how many data groups there are.
pub(super) struct Opening {
    /// What this process answers itself.
    pub(super) here: Routes,
    /// It is its whole cluster: it leads, or there is no leader.
    pub(super) is_alone: bool,
    pub(super) options: forward::Options,
    pub(super) closing: CancellationToken,
}

/// What an open port consists of.
pub(super) struct Edge {
    pub(super) ways: Ways,
    /// Of each data group: what its gate lets in, and where its leader is.
    pub(super) doors: Vec<(watch::Sender<Stage>, watch::Sender<Target>)>,
    pub(super) router: Option<Router>,
    pub(super) closing: CancellationToken,
}

impl Opening {
    /// Calls find their way from now on, and wait at the gates for the logs.
    pub(super) fn open(
        self,
        groups: u32,
        port: &PortLayer,
        config: &Config,
    ) -> Result<Edge, Error> {
        let (mut doors, mut gates, mut targets) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..groups {
            let (stage, stages) = watch::channel(Stage::Starting);
            let (target, targeted) = watch::channel(Target::Nobody);
            doors.push((stage, target));
            gates.push(self.behind(Gate::new(stages)));
            targets.push(targeted);
        }
        let doubt = Arc::new(Notify::new());
        let ways: Vec<Forward> = match self.is_alone {
            true => gates.into_iter().map(Forward::here).collect(),
            false => {
                let Self {
                    options, closing, ..
                } = &self;
                let forwarders = Forwarder::for_groups(targets, options, &doubt, closing);
                let layers = forwarders.into_iter().map(ForwardLayer::new);
                let ways = layers.zip(gates);
                ways.map(|(layer, gate)| layer.layer(gate)).collect()
            }
        };
        let ways = Ways::new(ways)?;
        let router = router(&ways, config)?;
        let routes = router.as_ref().map(Router::routes);
        port.open(Opened::new(ways.clone(), routes));
        Ok(Edge {
            ways,
            doors,
            router,
            closing: self.closing,
        })
    }

    /// What this process answers itself, and everything else behind a gate.
    fn behind(&self, gate: Gate) -> Routes {
        let here = self.here.clone().into_axum_router();
        Routes::from(here.fallback_service(gate)).prepare()
    }
}

/// What splits up the calls of applications, where there are several data groups.
pub(crate) fn router(ways: &Ways, config: &Config) -> Result<Option<Router>, route::Error> {
    if ways.groups() == 1 {
        return Ok(None);
    }
    let each = ways.iter().map(|(_, way)| way.clone());
    let options = route::Options {
        request_bytes_max: options::request_bytes_max(config),
        ..route::Options::default()
    };
    Ok(Some(Router::new(
        ways.placement(),
        each.collect(),
        options,
    )?))
}
