//! `--keep`: how to connect, and what happens from then on.

use anyhow::Result;
use scuttle_schemas::subjects;
use scuttle_tests::Role;

use crate::show::{Detail, Show};
use crate::terminal;

/// Says how to connect, and tells what happens. Ends only with an error.
pub(crate) async fn stay(show: &mut Show<'_>) -> Result<()> {
    let nats = &show.stage.nats;
    let (user, password) = (Role::Operator.user(), nats.password(Role::Operator));
    let url = nats
        .url()
        .replace("nats://", &format!("nats://{user}:{password}@"));
    let (shards, teardown) = (subjects::SHARDS_UPDATED, subjects::TEARDOWN);
    let (host, decky) = show.view.shards.keys().next_back().cloned().unzip();
    let host = host.map_or_else(String::new, |host| host.to_string());
    let decky = decky.map_or_else(String::new, |decky| decky.to_string());
    let request = format!(r#"{{"host_uuid": "{host}", "decky_id": "{decky}"}}"#);
    let terminal = show.terminal;
    terminal::print("")?;
    terminal.row("connect", &url)?;
    if let Some(websocket) = nats.websocket_url() {
        terminal.row("", &format!("{websocket} (the same user, from a browser)"))?;
    }
    terminal.row(
        "nats CLI",
        &format!("nats -s {url} request {teardown} '{request}'"),
    )?;
    terminal.row("", &format!("nats -s {url} sub {shards}"))?;
    terminal.row("Python", "pip install nats-py; python3 -m asyncio")?;
    terminal.row(
        "",
        &format!(">>> import nats; nc = await nats.connect(\"{url}\")"),
    )?;
    terminal.row(
        "",
        &format!(">>> (await nc.request(\"{teardown}\", b'{request}')).data"),
    )?;
    terminal::print("\nStays up; what happens is printed here. Ctrl-C stops everything.\n")?;
    show.detail = Detail::All;
    loop {
        show.tell_next().await?;
    }
}
