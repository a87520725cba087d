/// How calls are taken to several data groups.
#[derive(Clone, Debug)]
pub struct Options {
    /// The largest request that is read, in bytes; a larger one is refused. Default 16 MiB.
    pub request_bytes_max: usize,
    /// The largest answer of a data group that is put together with others, in bytes. Default
    /// 64 MiB.
    pub response_bytes_max: usize,
    /// Requests of one Publish stream that wait for their answer. Default 1,024.
    pub publish_requests_max: usize,
    /// Their bytes; reached, the stream is read no further until there is an answer. Default
    /// 64 MiB.
    pub publish_bytes_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            request_bytes_max: 16 << 20,
            response_bytes_max: 64 << 20,
            publish_requests_max: 1_024,
            publish_bytes_max: 64 << 20,
        }
    }
}
