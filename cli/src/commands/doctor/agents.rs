//! Checks what the host records say about the agents: their versions, their clocks, and whether two
//! agents report for one host.

use std::collections::BTreeSet;

use scuttle_schemas::agents::{CLOCK_SKEW_NOTE, TWO_AGENTS_NOTE};
use scuttle_schemas::hosts::{HostRecord, HostStatus};

use super::findings::Findings;
use crate::client::controllers::ControllerInfo;
use crate::client::lists;
use crate::client::nats_client::Client;
use crate::client::teardown::format_host;
use crate::output::style;

/// The maximum number of hosts that a warning names.
const MAX_NAMED: usize = 5;

/// Lists the hosts. Adds a failure if two agents report for one host, or if a host's clock differs
/// from the controller's. Adds a warning if the version of an agent differs from those of all
/// controllers. Adds nothing otherwise. If the hosts cannot be listed, another check reports that.
pub(super) async fn check_agents(
    client: &Client,
    controllers: &[ControllerInfo],
    findings: &mut Findings,
) {
    let Ok(list) = lists::list_hosts(client).await else {
        return;
    };
    let conflicts = find_notes(&list.hosts, TWO_AGENTS_NOTE);
    if !conflicts.is_empty() {
        findings.fail(
            "agents",
            1,
            conflicts.join("; "),
            "find the second agent by its start time, stop it, and check which host's credentials it was given",
        );
    }
    let clocks = find_notes(&list.hosts, CLOCK_SKEW_NOTE);
    if !clocks.is_empty() {
        findings.fail(
            "clocks",
            1,
            clocks.join("; "),
            "synchronize the clocks of these hosts and of the controllers with NTP: agents end teardowns at their deadlines",
        );
    }
    let versions: BTreeSet<_> = controllers.iter().map(|one| one.version.as_str()).collect();
    if let Some(found) = describe_versions(&list.hosts, &versions) {
        findings.warn(
            "versions",
            found,
            "install the controller's version on these hosts, and restart their agents",
        );
    }
}

/// Returns the notes with this prefix on the hosts that are not decommissioned.
fn find_notes(hosts: &[HostRecord], prefix: &str) -> Vec<String> {
    let active = hosts
        .iter()
        .filter(|host| host.status != HostStatus::Decommissioned);
    let found = active.filter_map(|host| {
        let mut notes = host.notes.iter();
        let note = notes.find(|note| note.as_str().starts_with(prefix))?;
        let host = format_host(&host.name, &host.host_uuid);
        Some(format!("{host}: {}", note.as_str()))
    });
    found.collect()
}

/// Describes the agents whose version differs from those of all controllers. Returns `None` if no
/// agent's version differs, or if no controller reports its version.
fn describe_versions(hosts: &[HostRecord], controllers: &BTreeSet<&str>) -> Option<String> {
    let differing = hosts.iter().filter_map(|host| {
        let version = host.agent_version.as_ref()?.as_str();
        let differs = !controllers.contains(version) && host.status != HostStatus::Decommissioned;
        differs.then(|| format!("{} {version}", format_host(&host.name, &host.host_uuid)))
    });
    let differing: Vec<_> = differing.collect();
    if controllers.is_empty() || differing.is_empty() {
        return None;
    }
    let named = style::join_at_most(&differing, MAX_NAMED);
    let controllers: Vec<_> = controllers.iter().copied().collect();
    Some(format!(
        "agents have another version than the controller ({}): {named}",
        controllers.join(", ")
    ))
}
