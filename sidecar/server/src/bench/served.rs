/// Whatever is under load: where it is, and which processes it runs in.
#[derive(Clone, Debug)]
pub(super) struct Served {
    /// Where its gRPC port is.
    pub(super) uri: String,
    /// Its processes; none when they are somebody else's.
    pub(super) processes: Vec<u32>,
    /// Processes that it calls; their CPU time counts as the client's does.
    pub(super) helpers: Vec<u32>,
}
