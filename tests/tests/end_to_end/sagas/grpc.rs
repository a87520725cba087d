//! A participant that is called over gRPC.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use outrigger_proto::v1::{
    ParticipantCallRequest, ParticipantCallResponse, ParticipantDone,
    participant_call_response::Outcome,
    participant_server::{Participant, ParticipantServer},
};
use tokio::{net::TcpListener, task::JoinHandle};
use tonic::{
    Request, Response, Status,
    transport::{Server, server::TcpIncoming},
};

#[derive(Clone, Default)]
struct Done(Arc<Mutex<BTreeSet<String>>>);

#[tonic::async_trait]
impl Participant for Done {
    async fn call(
        &self,
        request: Request<ParticipantCallRequest>,
    ) -> Result<Response<ParticipantCallResponse>, Status> {
        let call = request.into_inner();
        let expected = match call.idempotency_key.ends_with("/undo") {
            true => "credit",
            false => "debit",
        };
        assert_eq!(call.operation, expected);
        self.0
            .lock()
            .expect("not poisoned")
            .insert(call.idempotency_key);
        let output = r#"{"points":"debited"}"#.into();
        let outcome = Some(Outcome::Done(ParticipantDone { output }));
        Ok(Response::new(ParticipantCallResponse { outcome }))
    }
}

/// Ends when it is dropped.
pub(super) struct Points {
    address: String,
    done: Done,
    server: JoinHandle<()>,
}

impl Points {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let done = Done::default();
        let service = ParticipantServer::new(done.clone());
        let server = tokio::spawn(async move {
            let served = Server::builder().add_service(service);
            let _ = served
                .serve_with_incoming(TcpIncoming::from(listener))
                .await;
        });
        Self {
            address,
            done,
            server,
        }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The idempotency keys of what was done, in order.
    pub(super) fn effects(&self) -> Vec<String> {
        let done = self.done.0.lock().expect("not poisoned");
        done.iter().cloned().collect()
    }
}

impl Drop for Points {
    fn drop(&mut self) {
        self.server.abort();
    }
}
