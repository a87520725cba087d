//! The router before real data groups, each with a log of its own, whose leaders come and go.

mod check_back;
mod cluster;
mod consume;
mod faults;
mod publish;
mod receive;
mod unary;

use std::time::Duration;

use tonic_types::StatusExt as _;

use cluster::Cluster;

/// More than anything takes.
const LONG: Duration = Duration::from_secs(60);

fn reason(status: &tonic::Status) -> String {
    let info = status.get_details_error_info();
    info.map(|info| info.reason).unwrap_or_default()
}
