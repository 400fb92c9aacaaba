//! `scuttle host set`: changes the name, address or labels of a host, or resets its agent.

use clap::{ArgGroup, Args, Subcommand};
use scuttle_schemas::hosts::{HostUpdateAccepted, HostUpdateRequest};
use scuttle_schemas::{HostName, subjects};

use super::labels::collect_labels;
use crate::client::connection::ConnectionArgs;
use crate::client::lists;
use crate::client::nats_client::Client;
use crate::client::teardown::format_host;
use crate::commands::shell::candidates;
use crate::failure::Failure;
use crate::output::format::Format;
use crate::output::message::print_line;
use crate::parse::parse_label;

/// Change an enrolled host.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  scuttle host set worker-a --label rack=4")]
pub(crate) struct Host {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Set(Set),
}

/// Change the name, address or labels of a host, or reset its agent.
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("change").required(true).multiple(true).args(["name", "address", "labels", "reset_agent"]),
    after_help = "Examples:
  scuttle host set worker-a --label rack=4 --label site=lab  # replaces labels
  scuttle host set worker-a --address 10.0.0.7 --name worker-b
  scuttle host set worker-a --reset-agent    # its reports are ignored as stale"
)]
struct Set {
    /// Host name or ID.
    #[arg(value_name = "NAME", add = candidates::complete_hosts())]
    host: String,
    /// Label of the host; can be repeated. The given labels replace all labels of the host.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = parse_label)]
    labels: Vec<(String, String)>,
    /// New address of the host, as free text.
    #[arg(long)]
    address: Option<String>,
    /// New name of the host: 1 to 64 characters from A-Z a-z 0-9 . _ -.
    #[arg(long, value_name = "NEW_NAME")]
    name: Option<HostName>,
    /// Forget the last report of the agent, so that the controller accepts its next report. Use
    /// this if the reports of the agent are ignored as stale.
    #[arg(long)]
    reset_agent: bool,
    #[command(flatten)]
    nats: ConnectionArgs,
}

impl Host {
    pub(crate) async fn run(self, format: Format) -> Result<(), Failure> {
        match self.verb {
            Verb::Set(verb) => verb.run(format).await,
        }
    }
}

impl Set {
    async fn run(self, format: Format) -> Result<(), Failure> {
        let labels = collect_labels(&self.labels)?;
        let client = Client::connect(&self.nats.resolve()?).await?;
        let hosts = lists::list_hosts(&client).await?.hosts;
        let host = lists::find_host(&hosts, &self.host)?;
        let request = HostUpdateRequest {
            host_uuid: host.host_uuid.clone(),
            name: self.name,
            address: self.address,
            labels,
            reset_agent: self.reset_agent,
        };
        let accepted: HostUpdateAccepted = client.request(subjects::HOSTS_UPDATE, &request).await?;
        let id = &accepted.host.host_uuid;
        let name = format_host(&accepted.host.name, id);
        print_line(format!(
            "Host {name} updated in the swarm at {}.",
            client.swarm()
        ));
        format.write_one(&accepted, || id.to_string())
    }
}
