//! What only the statistics of service discovery show about each endpoint: how long its requests
//! took, and its last error.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use scuttle_schemas::{ErrorReply, truncate_chars};

use crate::request::endpoint::Endpoint;

/// The maximum length of an endpoint's last error, in characters.
const MAX_ERROR_CHARS: usize = 256;

/// The counts of all endpoints since the process started.
#[derive(Debug, Default)]
pub struct ServiceCounts([EndpointCounts; Endpoint::ALL.len()]);

#[derive(Debug, Default)]
struct EndpointCounts {
    processing_nanos: AtomicU64,
    last_error: Mutex<String>,
}

impl ServiceCounts {
    /// Adds the time that one request took.
    pub fn add_processing_time(&self, endpoint: Endpoint, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let total = &self.0[endpoint as usize].processing_nanos;
        total.fetch_add(nanos, Ordering::Relaxed);
    }

    /// Returns the time that all requests to an endpoint took, in nanoseconds.
    pub fn processing_nanos(&self, endpoint: Endpoint) -> u64 {
        let total = &self.0[endpoint as usize].processing_nanos;
        total.load(Ordering::Relaxed)
    }

    pub(super) fn set_last_error(&self, endpoint: Endpoint, error: &ErrorReply) {
        let text = format!("{}:{}", error.code.status(), error.message);
        let last = &self.0[endpoint as usize].last_error;
        *last.lock().unwrap_or_else(PoisonError::into_inner) =
            truncate_chars(&text, MAX_ERROR_CHARS).into_owned();
    }

    /// Returns the status and the message of the last rejection of an endpoint, or an empty text.
    pub fn last_error(&self, endpoint: Endpoint) -> String {
        let last = &self.0[endpoint as usize].last_error;
        last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
