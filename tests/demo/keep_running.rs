//! Keeps the swarm running after the scenario: explains how to connect, and prints every change.

use anyhow::Result;
use scuttle_schemas::subjects;
use scuttle_tests::Role;
use serde_json::json;

use crate::operator::{Detail, Operator};
use crate::terminal;

/// Prints how to connect, then every change. Never returns `Ok`.
///
/// # Errors
/// If the changes can no longer be followed or printed.
pub(crate) async fn keep_running(operator: &mut Operator<'_>) -> Result<()> {
    print_instructions(operator)?;
    operator.detail = Detail::Everything;
    loop {
        operator.print_next_change().await?;
    }
}

fn print_instructions(operator: &Operator<'_>) -> Result<()> {
    let nats = &operator.processes.nats;
    let (user, password) = (Role::Operator.user(), nats.password(Role::Operator));
    let address = nats.url().replace("nats://", "");
    // A decky that still exists, so that the example request is accepted.
    let target = operator.view.shards.keys().next_back();
    let target = target.map(|(host, decky)| json!({ "host_uuid": host, "decky_id": decky }));
    let request = target.unwrap_or_default().to_string();
    let (teardown, updated) = (subjects::TEARDOWN, subjects::SHARDS_UPDATED);
    let row = |name: &str, text: &str| operator.terminal.row(name, text);

    terminal::print("")?;
    let url = format!("export NATS_URL=nats://{user}:{password}@{address}");
    row("connect", &url)?;
    row("nats CLI", &format!("nats request {teardown} '{request}'"))?;
    row("", &format!("nats sub {updated}"))?;
    row("Python", "pip install nats-py, then python3 -m asyncio:")?;
    let connect = ">>> import nats, os; nc = await nats.connect(os.environ['NATS_URL'])";
    row("", connect)?;
    let send = format!(">>> (await nc.request('{teardown}', b'{request}')).data");
    row("", &send)?;
    if let Some(websocket) = nats.websocket_url() {
        row(
            "browser",
            &format!("{websocket}, user {user}, the same password"),
        )?;
    }
    terminal::print("\nThe demo keeps running and prints every change. Press Ctrl-C to stop it.\n")
}
