//! `scuttle events`: prints the changes to the swarm as they happen.

use std::collections::HashMap;

use clap::Args;
use scuttle_schemas::hosts::HostRecord;
use scuttle_schemas::operations::{OperationRecord, explain_error};
use scuttle_schemas::shards::ShardRecord;
use scuttle_schemas::{HostId, escape_hidden};

use super::change_stream::{self, Start};
use crate::client::connection::ConnectionArgs;
use crate::client::live_view::{LiveView, Update};
use crate::client::nats_client::Client;
use crate::clock;
use crate::failure::Failure;
use crate::output::change_lines::write_json_changes;
use crate::output::format::{Format, write_text};
use crate::output::local_time;
use crate::output::operation::{format_counts, format_operation_target};
use crate::output::style::{self, Colors, StateLabel, Tone};

/// Print changes as they happen, one per line, until Ctrl-C.
///
/// The controller keeps the last change of each decky. With --since, the command first prints the
/// deckies that have changed after that revision. Deckies that were removed meanwhile are not
/// listed. `scuttle ops --since` lists earlier operations.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  scuttle events
  scuttle events --since 1291
  scuttle events -o jsonl | jq -c 'select(.event == \"shard_removed\")'")]
pub(crate) struct Events {
    /// Revision, such as that of a decky in JSON output, after which to begin.
    #[arg(long, value_name = "REVISION")]
    since: Option<u64>,
    #[command(flatten)]
    nats: ConnectionArgs,
}

impl Events {
    pub(crate) async fn run(self, format: Format) -> Result<(), Failure> {
        if format == Format::Json {
            return Err(Failure::Usage(
                "changes have no end, so they are not one JSON document; use -o jsonl".to_owned(),
            ));
        }
        let client = Client::connect(&self.nats.resolve()?).await?;
        let start = Start::After(self.since);
        if format == Format::Jsonl {
            return change_stream::run(&client, start, format, write_json_changes).await;
        }
        let mut lines = Lines::default();
        let write = |view: &LiveView, update: &Update| lines.write(view, update);
        change_stream::run(&client, start, format, write).await
    }
}

/// Writes changes as lines for people.
#[derive(Debug, Default)]
struct Lines {
    /// The last line of each host. Counters in a host's record change all the time, so a host is
    /// printed only when its line is a new one.
    hosts: HashMap<HostId, Line>,
}

/// The text of one change.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    kind: &'static str,
    target: String,
    label: StateLabel,
    detail: String,
}

impl Lines {
    fn write(&mut self, view: &LiveView, update: &Update) -> Result<(), Failure> {
        match update {
            Update::Hosts(changes) => {
                warn_of_gap(changes.gap, "hosts");
                if changes.updated.is_empty() {
                    // The hosts of the first listing are known, but not printed.
                    let lines = view.hosts.iter();
                    let lines = lines.map(|(id, host)| (id.clone(), describe_host(host)));
                    self.hosts = lines.collect();
                }
                for id in &changes.updated {
                    if let Some(line) = view.hosts.get(id).map(describe_host)
                        && self.hosts.insert(id.clone(), line.clone()) != Some(line.clone())
                    {
                        print(&line)?;
                    }
                }
            }
            Update::Shards(changes) => {
                warn_of_gap(changes.gap, "deckies");
                for shard in changes
                    .updated
                    .iter()
                    .filter_map(|key| view.shards.get(key))
                {
                    print(&describe_shard(shard))?;
                }
                for (host, decky) in &changes.removed {
                    let name = view.hosts.get(host).map(|host| host.name.to_string());
                    let name = name.unwrap_or_else(|| host.to_string());
                    print(&Line {
                        kind: "decky",
                        target: format!("{name}/{decky}"),
                        label: StateLabel::new("✓", "removed", Tone::Success),
                        detail: String::new(),
                    })?;
                }
            }
            Update::Operations(changes) => {
                warn_of_gap(changes.gap, "operations");
                let updated = changes.updated.iter();
                for operation in updated.filter_map(|key| view.operations.get(key)) {
                    print(&describe_operation(operation))?;
                }
            }
            // A problem makes the view stale, which the stream reports.
            Update::Problem(_) | Update::ListingFailed(_) | Update::Nothing => {}
        }
        Ok(())
    }
}

fn warn_of_gap(is_gap: bool, what: &str) {
    if is_gap {
        eprintln!("Some changes to {what} were missed; the current state follows.");
    }
}

fn describe_host(host: &HostRecord) -> Line {
    let problem = host.inventory_error.as_ref().map(ToString::to_string);
    Line {
        kind: "host",
        target: host.name.to_string(),
        label: style::host_label(host.status),
        detail: problem.unwrap_or_else(|| style::format_notes(&host.notes)),
    }
}

fn describe_shard(shard: &ShardRecord) -> Line {
    let error = shard.last_error.as_ref().map_or("", |error| error.as_str());
    Line {
        kind: "decky",
        target: format!("{}/{}", shard.host_name, shard.decky_id),
        label: style::shard_label(shard.state),
        detail: explain_error(error).into_owned(),
    }
}

fn describe_operation(operation: &OperationRecord) -> Line {
    let detail = match (&operation.error, &operation.waiting_for) {
        (Some(error), _) => explain_error(error.as_str()).into_owned(),
        (None, Some(waiting)) => style::shorten_waiting(&waiting.detail),
        (None, None) => format_counts(operation),
    };
    Line {
        kind: "operation",
        target: format_operation_target(operation),
        label: style::operation_label(operation.state),
        detail,
    }
}

fn print(line: &Line) -> Result<(), Failure> {
    let time = local_time::format_time_of_day(clock::now(), local_time::zone());
    let colors = Colors::stdout();
    let text = format!(
        "{}  {:<9}  {}  {}  {}",
        colors.apply(Tone::Dim, &time),
        line.kind,
        escape_hidden(&line.target),
        colors.apply(line.label.tone, &line.label.text()),
        escape_hidden(&line.detail)
    );
    write_text(text.trim_end())
}
