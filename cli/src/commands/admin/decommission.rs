//! `scuttle decommission`: removes a host from the swarm, at the controller and at the NATS server.

use clap::Args;
use scuttle_schemas::hosts::{DecommissionAccepted, DecommissionRequest, HostRecord, HostStatus};
use scuttle_schemas::shards::ShardsListRequest;
use scuttle_schemas::{DeckyId, ErrorCode, subjects};

use super::bus_options::BusOptions;
use crate::admin::accounts::AccountName;
use crate::admin::keystore::Keystore;
use crate::admin::roles::Role;
use crate::admin::user_records::{self, UserRecord};
use crate::client::connection::Connection;
use crate::client::lists;
use crate::client::nats_client::Client;
use crate::client::revoke::revoke_users;
use crate::client::teardown::format_host;
use crate::commands::confirmation::{confirm, require_terminal};
use crate::commands::shell::candidates;
use crate::failure::Failure;
use crate::output::format::Format;
use crate::output::json_types::Decommissioned;
use crate::output::message::print_line;
use crate::output::style;

/// The maximum number of forgotten deckies that are named in a text for people.
const MAX_NAMED: usize = 10;

/// Decommission a host and revoke its credentials.
///
/// The command asks for confirmation, unless --yes is given. A host that has deckies is
/// decommissioned only with --force: the record forgets its deckies and ends its operations, and
/// containers may still be running on the host.
///
/// The server immediately closes the connection of the host's agent. The command also revokes any
/// remaining credentials of hosts that were decommissioned earlier. If the server cannot be
/// updated, run the command again. Without a bus directory, no credentials are revoked, and the
/// command prints what is left to do.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  scuttle decommission worker-a
  scuttle decommission worker-a --yes
  scuttle decommission worker-a --force    # does not tear down its deckies")]
pub(crate) struct Decommission {
    /// Host name or ID.
    #[arg(add = candidates::complete_hosts())]
    host: String,
    /// Decommission the host even if it has deckies. They are not torn down.
    #[arg(long)]
    force: bool,
    /// Decommission the host without asking for confirmation.
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    bus: BusOptions,
}

impl Decommission {
    pub(crate) async fn run(self, format: Format) -> Result<(), Failure> {
        if !self.yes {
            require_terminal(&format!("decommission {}", self.host), "give --yes")?;
        }
        let (keystore, connection) = self.bus.open_if_present()?;
        let client = Client::connect(&connection).await?;
        let hosts = lists::list_hosts(&client).await?.hosts;
        let host = lists::find_host(&hosts, &self.host)?;
        let forgotten = self.check_deckies(&client, host).await?;
        if !self.yes {
            ask(&client, host, &forgotten).await?;
        }
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
        let name = format_host(&host.name, &host.host_uuid);
        print_line(format!("{name}: {detail}. Swarm: {}.", client.swarm()));
        if !forgotten.is_empty() {
            print_line(format!("Forgotten: {}.", describe_forgotten(&forgotten)));
        }
        let mut revoked = Vec::new();
        if let Some(keystore) = &keystore {
            revoked = revoke_decommissioned(keystore, &connection, &hosts, host).await?;
        } else {
            eprintln!(
                "There is no bus directory here, so no credentials were revoked. If the swarm has one, run the command again with \
                 --dir DIR where it is. Otherwise, remove the user of the host's agent from the server's configuration, and reload \
                 the server (nats-server --signal reload)."
            );
        }
        let output = Decommissioned {
            host_uuid: host.host_uuid.clone(),
            host_name: host.name.clone(),
            detail,
            forgotten,
            revoked,
        };
        format.write_one(&output, || output.host_uuid.to_string())
    }

    /// Returns the deckies that the record is about to forget.
    ///
    /// # Errors
    /// If the host has deckies and `--force` is not given.
    async fn check_deckies(
        &self,
        client: &Client,
        host: &HostRecord,
    ) -> Result<Vec<DeckyId>, Failure> {
        let request = ShardsListRequest {
            host_uuid: Some(host.host_uuid.clone()),
            ..ShardsListRequest::default()
        };
        let shards = lists::list_shards(client, request).await?.shards;
        let deckies: Vec<_> = shards.into_iter().map(|shard| shard.decky_id).collect();
        if deckies.is_empty() || self.force {
            return Ok(deckies);
        }
        Err(Failure::Conflict(format!(
            "{host} still has {count}: tear them down first with `scuttle teardown {name} --wait`, or give --force to forget \
             them without tearing them down",
            host = format_host(&host.name, &host.host_uuid),
            name = host.name,
            count = style::format_decky_count(deckies.len()),
        )))
    }
}

/// Asks the operator to confirm, and says what the record is about to forget.
async fn ask(client: &Client, host: &HostRecord, forgotten: &[DeckyId]) -> Result<(), Failure> {
    if !forgotten.is_empty() {
        print_line(format!(
            "The record would forget {}. They are not torn down: their containers may keep running on {}, but `scuttle` no longer \
             shows them.",
            describe_forgotten(forgotten),
            host.name
        ));
    }
    if host.open_operations > 0 {
        print_line(format!(
            "Open operations of {} that would end as failed: {}.",
            host.name, host.open_operations
        ));
    }
    let question = format!(
        "Are you sure you want to decommission {} in the swarm at {}?",
        format_host(&host.name, &host.host_uuid),
        client.swarm()
    );
    if confirm(&question).await? {
        return Ok(());
    }
    Err(Failure::Conflict("aborted: nothing was changed".to_owned()))
}

/// Names the forgotten deckies, at most [`MAX_NAMED`] of them.
fn describe_forgotten(deckies: &[DeckyId]) -> String {
    let count = style::format_decky_count(deckies.len());
    let names: Vec<_> = deckies.iter().map(DeckyId::as_str).collect();
    format!("{count} ({})", style::join_at_most(&names, MAX_NAMED))
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
