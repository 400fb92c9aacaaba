//! The output of `scuttle watch` for programs: with `-o jsonl`, all current records and then each
//! change, one JSON object per line; with `-o json`, one document with the current records.

use crate::client::live_view::{LiveView, Update};
use crate::client::nats_client::Client;
use crate::clock;
use crate::commands::change_stream::{self, Start};
use crate::failure::Failure;
use crate::output::change_lines::write_json_changes;
use crate::output::format::Format;
use crate::output::json_types::Snapshot;
use crate::output::message::print_error;

/// Writes the current records and then all changes, one JSON event per line, until Ctrl-C.
pub(super) async fn run(client: &Client) -> Result<(), Failure> {
    change_stream::run(client, Start::AllRecords, Format::Jsonl, write_json_changes).await
}

/// Waits until all current records are listed, and writes them as one JSON document.
///
/// # Errors
/// If a listing fails. The document is a single answer, so the caller decides whether to try again.
pub(super) async fn write_snapshot(client: &Client) -> Result<(), Failure> {
    let mut view = LiveView::open(client).await?;
    while !view.is_complete() {
        match view.next().await {
            Update::ListingFailed(error) => return Err(error.into()),
            Update::Problem(problem) => print_error(problem),
            _ => {}
        }
    }
    let operations = view.operations.iter().map(|(_, operation)| operation);
    let snapshot = Snapshot {
        at: clock::now(),
        hosts: view.hosts.iter().map(|(_, host)| host).collect(),
        shards: view.shards.iter().map(|(_, shard)| shard).collect(),
        operations: operations.collect(),
    };
    Format::Json.write_one(&snapshot, String::new)
}
