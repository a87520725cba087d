/// How calls are taken to several data groups.
#[derive(Clone, Debug)]
pub struct Options {
    /// The largest request that is read, in bytes; a larger one is refused. Default 16 MiB.
    pub request_bytes_max: usize,
    /// The largest answer of a data group that is put together with others, in bytes. Default
    /// 64 MiB.
    pub response_bytes_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            request_bytes_max: 16 << 20,
            response_bytes_max: 64 << 20,
        }
    }
}
