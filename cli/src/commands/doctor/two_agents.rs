//! Checks whether two agents report for one host, which the notes of the host say.

use scuttle_schemas::agents::TWO_AGENTS_NOTE;
use scuttle_schemas::hosts::HostRecord;

use super::findings::Findings;
use crate::client::lists;
use crate::client::nats_client::Client;
use crate::client::teardown::format_host;

const CHECK: &str = "agents";

/// Lists the hosts, and adds a failure if two agents report for one of them. Adds nothing
/// otherwise, also if the hosts cannot be listed, which another check reports.
pub(super) async fn check_agents(client: &Client, findings: &mut Findings) {
    let Ok(list) = lists::list_hosts(client).await else {
        return;
    };
    let conflicts: Vec<_> = list.hosts.iter().filter_map(describe_conflict).collect();
    if conflicts.is_empty() {
        return;
    }
    findings.fail(
        CHECK,
        1,
        conflicts.join("; "),
        "find the second agent by its start time, stop it, and check which host's credentials it was given",
    );
}

fn describe_conflict(host: &HostRecord) -> Option<String> {
    let mut notes = host.notes.iter();
    let note = notes.find(|note| note.as_str().starts_with(TWO_AGENTS_NOTE))?;
    let host = format_host(&host.name, &host.host_uuid);
    Some(format!("{host}: {}", note.as_str()))
}
