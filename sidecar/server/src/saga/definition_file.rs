//! Definitions of sagas as YAML or JSON files.
//!
//! ```yaml
//! name: order
//! deadline_ms: 600000
//! steps:
//!   - name: reserve
//!     action:
//!       http: http://stock:8080/reserve
//!       input: { order: { $ref: "input#/order/id" } }
//!       timeout_ms: 3000
//!     undo:
//!       http: http://stock:8080/release
//!   - name: limits
//!     action: { grpc: { url: "http://points:9090", operation: limits } }
//!     nothing_to_undo: true
//!   - name: charge
//!     depends_on: [reserve, limits]
//!     pivot: true
//!     action:
//!       http: https://payment/charge
//!       input:
//!         reservation: { $ref: "steps/reserve#/reservation" }
//!         limit: { $ref: "steps/limits#/limit", default: 100 }
//!       retry:
//!         base_ms: 100
//!         cap_ms: 5000
//!         attempts_max: 20
//!         classes: { ongoing: { attempts_max: 50 } }
//!   - name: tell
//!     depends_on: [charge]
//!     action: { message: { topic: orders-paid } }
//! output: { receipt: { $ref: "steps/charge#/receipt" } }
//! deliver_to:
//!   - webhook: https://shop/orders/done
//! ```
//!
//! With `mode: tcc` every step has `try`, `confirm` and `cancel` in place of `action` and
//! `undo`. A step may be a saga of its own: `action: { saga: { definition: refund } }`, with a
//! `version` or else the latest one when it is defined. A file is at most 1 MiB.

mod file;
#[cfg(test)]
mod tests;

use outrigger_core::saga::definition::Mode;
use outrigger_proto::v1::SagaDefinition;

/// Largest file.
pub const FILE_BYTES_MAX: usize = 1024 * 1024;

/// Why a file is refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is too large.
    #[error("the file has {bytes} bytes, at most {limit} are allowed")]
    TooLarge {
        /// How large it is.
        bytes: usize,
        /// How large it may be.
        limit: usize,
    },
    /// It is no YAML or JSON, or has a key or value that a definition does not have. The
    /// message has the line and the column.
    #[error("{message}")]
    Syntax {
        /// What the parser says.
        message: String,
    },
    /// A call has nobody whom it calls, or several.
    #[error(
        "step {step:?}: {field}: exactly one of http, grpc, message and saga is needed, there are {count}"
    )]
    Target {
        /// The step.
        step: String,
        /// Which call.
        field: &'static str,
        /// How many there are.
        count: usize,
    },
    /// A step has a key of the other mode.
    #[error("step {step:?}: {field} is for {needed}", needed = mode_name(*.mode))]
    WrongMode {
        /// The step.
        step: String,
        /// Which key.
        field: &'static str,
        /// The mode that has it.
        mode: Mode,
    },
    /// A step has no action or try.
    #[error("step {step:?}: {field} is missing")]
    Missing {
        /// The step.
        step: String,
        /// Which key.
        field: &'static str,
    },
    /// A step says that there is something to undo and that there is nothing.
    #[error("step {step:?}: {field} and nothing_to_undo exclude each other")]
    BothUndos {
        /// The step.
        step: String,
        /// Undo or cancel.
        field: &'static str,
    },
    /// A place of delivery is not exactly one place.
    #[error("deliver_to: exactly one of webhook and message is needed, there are {count}")]
    Delivery {
        /// How many there are.
        count: usize,
    },
}

/// Reads a file. What is in it is checked by
/// [`convert::definition`](super::convert::definition), as if it came over the wire.
///
/// # Errors
/// When it is not a definition by its form.
pub fn parse(text: &str) -> Result<SagaDefinition, Error> {
    let (bytes, limit) = (text.len(), FILE_BYTES_MAX);
    if bytes > limit {
        return Err(Error::TooLarge { bytes, limit });
    }
    let file: file::File = serde_saphyr::from_str(text).map_err(|error| Error::Syntax {
        message: error.to_string(),
    })?;
    file.into_proto()
}

fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Saga => "mode saga only",
        Mode::Tcc => "mode tcc only",
    }
}
