//! The protocol `outrigger.v1`, generated from the `.proto` files beside this crate.
//!
//! There are two flavours of the same wire format. [`v1`] is for clients. [`stored`] is
//! for the server: wherever a [`v1::Message`] travels, it has the encoded bytes instead,
//! because that is how the log stores and returns them.

#![allow(missing_docs, unreachable_pub, clippy::all, rustdoc::invalid_html_tags)]

/// The client's flavour: every message decoded.
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/typed/outrigger.v1.rs"));
}

/// The server's flavour: embedded [`v1::Message`]s left as encoded bytes.
pub mod stored {
    include!(concat!(env!("OUT_DIR"), "/stored/outrigger.v1.rs"));
}

/// The protocol `outrigger.cluster.v1`, between nodes and for their operators.
pub mod cluster {
    include!(concat!(env!("OUT_DIR"), "/typed/outrigger.cluster.v1.rs"));
}

/// The compiled descriptors of all files, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] =
    include_bytes!(concat!(env!("OUT_DIR"), "/outrigger.v1.bin"));
