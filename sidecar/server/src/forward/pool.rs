use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tonic::transport::{Channel, Endpoint};

use super::Options;
use crate::edge::status::Failure;

/// As on the side that serves: a stream of batches needs more than the standard's 64 KiB.
const STREAM_WINDOW_BYTES: u32 = 8 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// The largest HTTP/2 frame that is taken.
const HTTP2_FRAME_BYTES_MAX: u32 = 256 << 10;

/// A few connections for each node, one for each where there is one data group. They are
/// made at the first call, and again whenever they were lost.
#[derive(Debug)]
pub(super) struct Pool {
    options: Options,
    channels: Mutex<BTreeMap<String, BTreeMap<u32, Channel>>>,
}

impl Pool {
    pub(super) fn new(options: Options) -> Self {
        Self {
            options,
            channels: Mutex::default(),
        }
    }

    /// The connection for a data group to the node that serves applications at `edge`.
    pub(super) fn channel(&self, edge: &str, group: u32) -> Result<Channel, Failure> {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        let lane = group % self.options.connections_per_node_max.max(1);
        let known = channels.get(edge).and_then(|lanes| lanes.get(&lane));
        if let Some(channel) = known {
            return Ok(channel.clone());
        }
        let channel = self.endpoint(edge)?.connect_lazy();
        let count: usize = channels.values().map(BTreeMap::len).sum();
        if count >= self.options.connections_max.max(1) {
            // Nodes come and go seldom. Streams on dropped connections go on.
            channels.clear();
        }
        let lanes = channels.entry(edge.to_owned()).or_default();
        lanes.insert(lane, channel.clone());
        Ok(channel)
    }

    fn endpoint(&self, edge: &str) -> Result<Endpoint, Failure> {
        let endpoint = Endpoint::from_shared(format!("http://{edge}")).map_err(|error| {
            Failure::new(
                tonic::Code::Unavailable,
                super::failure::NO_LEADER,
                format!("the leader's address {edge:?} cannot be used: {error}"),
            )
        })?;
        let options = &self.options;
        Ok(endpoint
            .connect_timeout(Duration::from_millis(options.connect_timeout_ms))
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_frame_size(HTTP2_FRAME_BYTES_MAX)
            .http2_keep_alive_interval(Duration::from_millis(options.keep_alive_interval_ms))
            .keep_alive_timeout(Duration::from_millis(options.keep_alive_timeout_ms)))
    }
}
