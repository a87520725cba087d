use std::sync::Arc;

use outrigger_log::{Log, forwarding};
use outrigger_proto::cluster::{groups_server::GroupsServer, sagas_server::SagasServer};
use outrigger_proto::stored::{
    admin_server::AdminServer, consumer_server::ConsumerServer, guard_server::GuardServer,
    producer_server::ProducerServer,
};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;
use tonic::service::Routes;

use super::{Error, courier::CallingCourier, lead::Common};
use crate::{
    check_back::{self, CheckBack},
    delivery,
    edge::{
        AdminService, Arrivals, Elsewhere, Ending, Groups, GuardService, ProducerService, Topics,
        status::Failure,
    },
    guards, options,
    saga::{self, Keeper},
};

/// Everything that runs only while this node leads: the services for applications, delivery,
/// check-back. Nothing of it outlives the term: leases and schedules are made anew from what
/// the log has recorded.
pub(crate) struct Tenure {
    term: u64,
    routes: Routes,
    consumer: delivery::Service,
    check_back: CheckBack,
    ending: watch::Sender<Option<Failure>>,
    stopping: watch::Sender<bool>,
    /// Takes messages to other data groups, where there are any; it ends with this.
    _forwarding: Option<AbortOnDropHandle<()>>,
}

impl Tenure {
    pub(crate) fn begin(common: &Common, log: &Log, term: u64) -> Result<Self, Error> {
        let Common {
            config,
            readiness,
            ways,
        } = common;
        let limits = Arc::new(config.limits.clone());
        let (ending, ended) = Ending::new();
        let (stopping, stopped) = watch::channel(false);
        let bytes = options::request_bytes_max(config);
        let elsewhere = match ways.groups() {
            1 => None,
            _ => Some(Elsewhere::new(ways.clone(), log.data_group())),
        };
        let topics = Topics::new(
            log.clone(),
            config.auto_create,
            config.default_queues,
            config.default_durability.into(),
            elsewhere,
        );
        let groups = Groups::new(log.clone(), config.delivery.clone());
        let check_back = check_back::start(log.clone(), options::check_back(config), stopped)?;
        let guards = guards::Guards::new(log.clone(), options::guards(config)?)?;
        let consumer = delivery::Service::new(log.clone(), options::delivery(config));
        let producer = ProducerService::new(
            log.clone(),
            topics.clone(),
            limits,
            check_back.callbacks(),
            ended,
        );
        let admin = AdminService::new(
            log.clone(),
            topics,
            groups,
            consumer.clone(),
            check_back.last_checks(),
            readiness.clone(),
        );
        let producer = ProducerServer::new(producer).max_decoding_message_size(bytes);
        let keeper = SagasServer::new(Keeper::new(log.clone()));
        let deliver = ConsumerServer::new(consumer.clone()).max_decoding_message_size(bytes);
        let mut routes = Routes::new(producer)
            .add_service(deliver)
            .add_service(GuardServer::new(GuardService::new(guards)))
            .add_service(AdminServer::new(admin))
            .add_service(keeper.max_decoding_message_size(saga::CALL_BYTES_MAX));
        let mut forwarding = None;
        if ways.groups() > 1 {
            let arrivals = Arrivals::new(log.clone(), config.default_queues);
            let arrivals = GroupsServer::new(arrivals).max_decoding_message_size(bytes);
            routes = routes.add_service(arrivals);
            let courier = Arc::new(CallingCourier::new(ways.clone(), bytes));
            let forwarded = tokio::spawn(forwarding::run(log.clone(), courier));
            forwarding = Some(AbortOnDropHandle::new(forwarded));
        }
        Ok(Self {
            term,
            routes: routes.prepare(),
            consumer,
            check_back,
            ending,
            stopping,
            _forwarding: forwarding,
        })
    }

    pub(crate) fn term(&self) -> u64 {
        self.term
    }

    /// The services for applications.
    pub(crate) fn routes(&self) -> Routes {
        self.routes.clone()
    }

    /// Ends every stream with this failure; calls that were taken are still answered.
    pub(crate) fn end(self, why: Failure) {
        self.consumer.drain(why.clone());
        self.ending.send_replace(Some(why));
        self.stopping.send_replace(true);
        tokio::spawn(self.check_back.stopped());
    }
}
