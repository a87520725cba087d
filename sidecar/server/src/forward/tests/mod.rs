//! The proxy before nodes that die, stand still, or say that they do not lead.

mod finder;
mod groups;
mod hops;
mod node;
mod publish;
mod streams;
mod unary;

use tokio::sync::watch;
use tonic_types::StatusExt as _;

use super::{Forward, Forwarder, Options, Target};
use node::Node;

/// A proxy that believes what it is told about the leader.
struct Proxy {
    target: watch::Sender<Target>,
    forward: Forward,
}

impl Proxy {
    fn to(target: Target) -> Self {
        Self::with(target, Options::default())
    }

    fn with(target: Target, options: Options) -> Self {
        let (target, targets) = watch::channel(target);
        let forwarder = Forwarder::new(targets, options);
        Self {
            target,
            forward: Forward::client(forwarder),
        }
    }

    fn leads(&self, node: &Node) {
        self.target.send_replace(node.target());
    }
}

/// So short that a test can wait for it.
fn impatient() -> Options {
    Options {
        leader_wait_ms: 150,
        ..Options::default()
    }
}

fn reason(status: &tonic::Status) -> String {
    let info = status.get_details_error_info();
    info.map(|info| info.reason).unwrap_or_default()
}
