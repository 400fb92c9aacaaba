//! The size limits of heartbeats and results, and how both are divided or shortened to fit the NATS
//! server's maximum payload.

use scuttle_schemas::agents::{ReportedOutcome, ReportedShard, ResultOutcome, TeardownResult};
use scuttle_schemas::{MAX_HEADER_BYTES, MAX_HEARTBEAT_BYTES, Note, Text, truncate_chars};
use serde::Serialize;

/// The maximum size of a result in bytes, however large the server's messages may be.
const MAX_RESULT_BYTES: usize = 512 * 1024;

/// The default `max_payload` of a NATS server, in bytes.
pub(super) const DEFAULT_MAX_PAYLOAD: usize = 1 << 20;

/// Returns the maximum size of a heartbeat, in bytes, for a server with this `max_payload`.
pub(super) fn max_heartbeat_bytes(max_payload: usize) -> usize {
    MAX_HEARTBEAT_BYTES.min(max_payload.saturating_sub(MAX_HEADER_BYTES))
}

/// Returns the maximum size of a result, in bytes, for a server with this `max_payload`.
pub(super) fn max_result_bytes(max_payload: usize) -> usize {
    MAX_RESULT_BYTES.min(max_payload.saturating_sub(MAX_HEADER_BYTES))
}

/// Returns the first notes that fit into `max_bytes`.
pub(super) fn fitting_notes<'n>(
    notes: impl Iterator<Item = &'n Note>,
    max_bytes: usize,
) -> Vec<Note> {
    let mut free = max_bytes;
    let fitting = notes.take_while(|note| {
        let left = free.checked_sub(serialized_bytes(note) + 1);
        free = left.unwrap_or(0);
        left.is_some()
    });
    fitting.cloned().collect()
}

/// Splits an inventory into one or more pages: the first of at most `first_bytes`, the others of at
/// most `page_bytes`.
pub(super) fn split_into_pages(
    shards: &[ReportedShard],
    first_bytes: usize,
    page_bytes: usize,
) -> Vec<Vec<ReportedShard>> {
    let mut pages = vec![];
    let (mut page, mut free) = (vec![], first_bytes);
    for shard in shards {
        let bytes = serialized_bytes(shard) + 1;
        if bytes > free {
            pages.push(std::mem::take(&mut page));
            free = page_bytes;
        }
        free = free.saturating_sub(bytes);
        page.push(shard.clone());
    }
    pages.push(page);
    pages
}

/// Shortens a result until it fits into `max_bytes`: first shortens the errors of deckies, then
/// drops evidence, then drops deckies. The server would reject an oversized result, so the result
/// could never be recorded.
pub(super) fn shorten_to_fit(mut result: TeardownResult, max_bytes: usize) -> TeardownResult {
    for characters in [128, 32, 8, 0] {
        if serialized_bytes(&result) <= max_bytes {
            return result;
        }
        for shard in &mut result.shards {
            shard.error = shard
                .error
                .as_ref()
                .map(|error| Text::from(truncate_chars(error.as_str(), characters).as_ref()))
                .filter(|error| !error.as_str().is_empty());
        }
    }
    // The archives stay on the host, where `scuttle evidence list` shows them.
    let mut bytes = serialized_bytes(&result);
    for shard in result.shards.iter_mut().rev() {
        if bytes <= max_bytes {
            break;
        }
        let removed = shard.evidence.take();
        bytes -= removed.map_or(0, |evidence| serialized_bytes(&evidence));
    }
    // If a result does not mention a decky, the controller assumes that the decky is absent if the
    // operation succeeded, and that it failed if the operation failed. Deckies whose outcome is the
    // assumed one are left out first.
    let assumed = match result.outcome {
        ResultOutcome::Succeeded => ReportedOutcome::Absent,
        ResultOutcome::Failed => ReportedOutcome::Failed,
    };
    result.shards.sort_by_key(|shard| shard.outcome == assumed);
    while bytes > max_bytes
        && let Some(shard) = result.shards.pop()
    {
        bytes -= serialized_bytes(&shard) + 1;
    }
    result
}

/// Returns the size of a value as JSON, in bytes.
pub(super) fn serialized_bytes(value: &impl Serialize) -> usize {
    serde_json::to_vec(value).map_or(0, |text| text.len())
}
