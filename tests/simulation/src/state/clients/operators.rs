//! The operators' open requests, and their memory of earlier requests.

use std::collections::BTreeMap;

use scuttle_schemas::OperationId;
use serde_json::Value;

/// A request that an operator has sent.
#[derive(Debug, Clone)]
pub(crate) struct OpenRequest {
    pub(crate) subject: &'static str,
    pub(crate) body: Value,
    pub(crate) user: &'static str,
    pub(crate) key: Option<String>,
    pub(crate) retries_left: u32,
}

/// All operators.
#[derive(Debug, Default)]
pub(crate) struct Operators {
    pub(crate) request_count: u64,
    pub(crate) open: BTreeMap<u64, OpenRequest>,
    /// The teardown requests so far.
    pub(crate) teardowns: Vec<OpenRequest>,
    pub(crate) operations: Vec<OperationId>,
    pub(crate) dry_run: Option<(usize, String)>,
}
