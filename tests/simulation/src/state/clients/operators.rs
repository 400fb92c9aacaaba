//! The operators' open requests, and their memory of earlier requests.

use std::collections::BTreeMap;

use scuttle_schemas::OperationId;
use serde_json::Value;

/// A request that an operator has sent. It stays open until it gets a reply or its retries are used
/// up.
#[derive(Debug, Clone)]
pub(crate) struct OpenRequest {
    pub(crate) subject: &'static str,
    pub(crate) body: Value,
    pub(crate) user: &'static str,
    pub(crate) key: Option<String>,
    pub(crate) retries_left: u32,
}

impl OpenRequest {
    /// Returns whether the request makes the controller forget the last report of an agent.
    pub(crate) fn is_reset(&self) -> bool {
        self.body["reset_agent"].as_bool() == Some(true)
    }
}

/// The requests of all operators, and what they remember from the replies.
#[derive(Debug, Default)]
pub(crate) struct Operators {
    pub(crate) request_count: u64,
    pub(crate) open: BTreeMap<u64, OpenRequest>,
    /// All teardown requests so far, which operators may repeat.
    pub(crate) teardowns: Vec<OpenRequest>,
    pub(crate) operations: Vec<OperationId>,
    pub(crate) dry_run: Option<(usize, String)>,
}
