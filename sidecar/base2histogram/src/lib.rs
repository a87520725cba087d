//! A small histogram over `u64`, in place of the crate of the same name that openraft uses.
//!
//! # Why this exists
//!
//! The published `base2histogram` 0.2.3 builds lookup tables for sixteen resolutions in one
//! static, 26 MB in all, and touches them with the first histogram. openraft uses a single
//! resolution, for statistics that Outrigger does not show. Those tables were four fifths of
//! the idle process. This crate offers the part of the interface that openraft uses and
//! computes bucket bounds instead of looking them up. The workspace puts it in place with
//! `[patch.crates-io]`.
//!
//! # When to remove it
//!
//! As soon as a published `base2histogram` no longer builds tables for resolutions that
//! nobody asked for, or openraft no longer depends on it: delete this directory, its line in
//! the workspace's members, and the patch.

mod ascii_chart;
mod histogram;
mod percentile_stats;

pub use ascii_chart::AsciiChart;
pub use histogram::Histogram;
pub use percentile_stats::PercentileStats;
