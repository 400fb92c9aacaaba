//! `scuttle decommission`: removes a host from the swarm, at the controller and at the NATS server.

use clap::Args;
use scuttle_schemas::hosts::{DecommissionAccepted, DecommissionRequest, HostRecord, HostStatus};
use scuttle_schemas::{ErrorCode, subjects};

use super::bus_options::BusOptions;
use crate::admin::accounts::AccountName;
use crate::admin::keystore::Keystore;
use crate::admin::roles::Role;
use crate::admin::user_records::{self, UserRecord};
use crate::client::connection::Connection;
use crate::client::lists;
use crate::client::nats_client::Client;
use crate::client::revoke::revoke_users;
use crate::commands::shell::candidates;
use crate::failure::Failure;
use crate::output::format::Format;
use crate::output::json_types::Decommissioned;
use crate::output::message::print_line;

/// Decommission a host and revoke its credentials.
///
/// The server immediately closes the connection of the host's agent. The command also revokes any
/// remaining credentials of hosts that were decommissioned earlier. If the server cannot be
/// updated, run the command again. Without a bus directory, no credentials are revoked, and the
/// command prints what is left to do.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  scuttle decommission worker-a
  scuttle decommission worker-a --force    # the deckies are not torn down, but leave the record")]
pub(crate) struct Decommission {
    /// Host name or ID.
    #[arg(add = candidates::complete_hosts())]
    host: String,
    /// Decommission the host even if it has deckies. They are not torn down.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    bus: BusOptions,
}

impl Decommission {
    pub(crate) async fn run(self, format: Format) -> Result<(), Failure> {
        let (keystore, connection) = self.bus.open_if_present()?;
        let client = Client::connect(&connection).await?;
        let hosts = lists::list_hosts(&client).await?.hosts;
        let host = lists::find_host(&hosts, &self.host)?;
        let request = DecommissionRequest {
            host_uuid: host.host_uuid.clone(),
            force: self.force,
        };
        let reply: Result<DecommissionAccepted, _> =
            client.request(subjects::HOSTS_DECOMMISSION, &request).await;
        let detail = match reply {
            Ok(accepted) => accepted.detail,
            // An earlier run of this command may have failed to update the server.
            Err(error) if error.code() == Some(ErrorCode::HostDecommissioned) => {
                "the host was already decommissioned".to_owned()
            }
            Err(error) => return Err(error.into()),
        };
        print_line(format!("{} ({}): {detail}", host.name, host.host_uuid));
        let mut revoked = Vec::new();
        if let Some(keystore) = &keystore {
            revoked = revoke_decommissioned(keystore, &connection, &hosts, host).await?;
        } else {
            eprintln!(
                "There is no bus directory here, so no credentials were revoked: remove the user of the host's agent from the \
                 server's configuration, and reload the server (nats-server --signal reload)."
            );
        }
        let output = Decommissioned {
            host_uuid: host.host_uuid.clone(),
            host_name: host.name.clone(),
            detail,
            revoked,
        };
        format.write_one(&output, || output.host_uuid.to_string())
    }
}

/// Revokes the credentials of `host` and of all hosts that are already decommissioned. Returns the
/// ids of the hosts whose credentials were revoked.
async fn revoke_decommissioned(
    keystore: &Keystore,
    connection: &Connection,
    hosts: &[HostRecord],
    host: &HostRecord,
) -> Result<Vec<String>, Failure> {
    let is_decommissioned = |user: &UserRecord| {
        let mut decommissioned = hosts.iter().filter(|other| {
            other.status == HostStatus::Decommissioned || other.host_uuid == host.host_uuid
        });
        user.role == Role::Agent && decommissioned.any(|host| host.host_uuid.as_str() == user.user)
    };
    let mut users = user_records::list_active(keystore)?;
    users.retain(is_decommissioned);
    revoke_users(keystore, AccountName::Scuttle, &users, connection).await?;
    if users.is_empty() {
        eprintln!("The host has no valid credentials from this bus directory.");
    }
    for user in &users {
        let name = user.host_name.as_ref().map_or("", |name| name.as_str());
        eprintln!("Credentials of {name} ({}) revoked.", user.user);
    }
    Ok(users.into_iter().map(|user| user.user).collect())
}
