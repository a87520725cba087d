use std::sync::Arc;

use outrigger_log::Log;
use outrigger_proto::stored::{
    admin_server::AdminServer, consumer_server::ConsumerServer, guard_server::GuardServer,
    producer_server::ProducerServer,
};
use tokio::sync::watch;
use tonic::service::Routes;

use super::{Error, lead::Common};
use crate::{
    check_back::{self, CheckBack},
    delivery,
    edge::{AdminService, Ending, Groups, GuardService, ProducerService, Topics, status::Failure},
    guards, options,
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
}

impl Tenure {
    pub(crate) fn begin(common: &Common, log: &Log, term: u64) -> Result<Self, Error> {
        let Common {
            config, readiness, ..
        } = common;
        let limits = Arc::new(config.limits.clone());
        let (ending, ended) = Ending::new();
        let (stopping, stopped) = watch::channel(false);
        let topics = Topics::new(
            log.clone(),
            config.auto_create,
            config.default_queues,
            config.default_durability.into(),
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
        let bytes = options::request_bytes_max(config);
        let producer = ProducerServer::new(producer).max_decoding_message_size(bytes);
        let deliver = ConsumerServer::new(consumer.clone()).max_decoding_message_size(bytes);
        let routes = Routes::new(producer)
            .add_service(deliver)
            .add_service(GuardServer::new(GuardService::new(guards)))
            .add_service(AdminServer::new(admin))
            .prepare();
        Ok(Self {
            term,
            routes,
            consumer,
            check_back,
            ending,
            stopping,
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
