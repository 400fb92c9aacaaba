//! `scuttle version`: shows the versions of this command, the controllers and the agents.

use std::collections::BTreeMap;
use std::fmt::Write;

use clap::Args;
use scuttle_schemas::hosts::{HostRecord, HostStatus};
use scuttle_schemas::subjects::{METADATA_RECORD, METADATA_SCHEMAS};
use scuttle_schemas::{Text, escape_hidden};

use crate::client::connection::ConnectionArgs;
use crate::client::controllers::{ControllerInfo, list_controllers};
use crate::client::lists;
use crate::client::nats_client::Client;
use crate::failure::Failure;
use crate::output::format::Format;
use crate::output::json_types::{ControllerVersion, Versions};

/// Show the versions of this command, the controllers and the agents.
///
/// Without a connection, shows the version of this command and why the others are unknown.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  scuttle version
  scuttle version -o json | jq -r '.controllers[].version'")]
pub(crate) struct Version {
    #[command(flatten)]
    nats: ConnectionArgs,
}

impl Version {
    pub(crate) async fn run(self, format: Format) -> Result<(), Failure> {
        let mut versions = Versions {
            client: env!("CARGO_PKG_VERSION"),
            controllers: Vec::new(),
            agents: BTreeMap::new(),
            error: None,
        };
        if let Err(error) = self.ask(&mut versions).await {
            versions.error = Some(error.to_string());
        }
        format.write_one(&versions, || render(&versions))
    }

    /// Adds the versions of the controllers and the agents.
    async fn ask(&self, versions: &mut Versions) -> Result<(), Failure> {
        let client = Client::connect(&self.nats.resolve()?).await?;
        let controllers = list_controllers(&client).await;
        versions.controllers = controllers.iter().map(to_version).collect();
        versions.agents = count_agents(&lists::list_hosts(&client).await?.hosts);
        Ok(())
    }
}

fn to_version(controller: &ControllerInfo) -> ControllerVersion {
    ControllerVersion {
        instance: escape_hidden(&controller.id).into_owned(),
        version: escape_hidden(&controller.version).into_owned(),
        record: controller.value(METADATA_RECORD),
        schemas: controller.value(METADATA_SCHEMAS),
    }
}

/// Counts the active hosts for each version of their agents.
fn count_agents(hosts: &[HostRecord]) -> BTreeMap<String, usize> {
    let active = hosts
        .iter()
        .filter(|host| host.status != HostStatus::Decommissioned);
    let mut counts = BTreeMap::new();
    for version in active.filter_map(|host| host.agent_version.as_ref().map(Text::as_str)) {
        *counts.entry(version.to_owned()).or_default() += 1;
    }
    counts
}

fn render(versions: &Versions) -> String {
    let Versions {
        client,
        controllers,
        agents,
        error,
    } = versions;
    let mut text = format!("client      {client}\n");
    for controller in controllers {
        let ControllerVersion {
            instance, version, ..
        } = controller;
        let record = controller.record.as_deref().unwrap_or("unknown");
        let _ = writeln!(text, "controller  {version}");
        let _ = writeln!(text, "  instance  {instance}");
        let _ = writeln!(text, "  record    {record}");
    }
    for (version, hosts) in agents {
        let plural = if *hosts == 1 { "" } else { "s" };
        let version = escape_hidden(version);
        let _ = writeln!(text, "agents      {version}  {hosts} host{plural}");
    }
    if let Some(error) = error {
        let _ = writeln!(text, "others      unknown: {}", escape_hidden(error));
    }
    text
}
