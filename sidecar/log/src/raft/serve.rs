//! What other nodes ask of this one.

use bytes::Bytes;
use tokio::sync::mpsc;

use super::node::Node;
use super::types::NodeId;
use crate::apply::Apply;
use crate::cluster::{Leadership, Purpose};
use crate::submit::SubmitError;

impl<A: Apply> Node<A> {
    pub(crate) fn serve_peer(
        &self,
        _from: NodeId,
        _purpose: Purpose,
        _frames: mpsc::Receiver<Bytes>,
    ) -> mpsc::Receiver<Bytes> {
        let (_, answers) = mpsc::channel(1);
        answers
    }

    pub(crate) async fn read_barrier(&self) -> Result<(), SubmitError> {
        if self.leadership.borrow().is_leading() {
            return self.confirm_leadership().await;
        }
        let leader = match &*self.leadership.borrow() {
            Leadership::Following { leader, .. } => leader.as_ref().map(|(id, _)| *id),
            Leadership::Leading { .. } => None,
        };
        Err(SubmitError::NotLeader { leader })
    }
}
