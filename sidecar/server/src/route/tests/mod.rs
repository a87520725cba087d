//! The router before real data groups, each with a log of its own, whose leaders come and go.

mod cluster;
mod publish;

use tonic_types::StatusExt as _;

use cluster::Cluster;

fn reason(status: &tonic::Status) -> String {
    let info = status.get_details_error_info();
    info.map(|info| info.reason).unwrap_or_default()
}
