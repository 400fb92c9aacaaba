//! `scuttle decommission`: a host is let out, by the controller and by the NATS server.

use clap::Args;
use scuttle_schemas::hosts::{DecommissionAccepted, DecommissionRequest, HostRecord, HostStatus};
use scuttle_schemas::{ErrorCode, subjects};

use super::Bus;
use crate::accounts::AccountName;
use crate::ask;
use crate::complete;
use crate::connect::Connection;
use crate::directory::Directory;
use crate::failure::Failure;
use crate::issued;
use crate::lists;
use crate::output::Format;
use crate::outputs::Decommissioned;
use crate::revoke::revoke;
use crate::roles::Role;

/// Takes a host out of the swarm, and takes its credentials back: the server closes its agent's connection at once.
///
/// Also takes back those of hosts that were decommissioned in another way. If the server cannot be told, run it again. Where there
/// is no bus directory, only the record is changed, and it is said what is left to do.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  scuttle decommission worker-a
  scuttle decommission worker-a --force    # its deckies stay where they are, and leave the record")]
pub(crate) struct Decommission {
    /// The host's name or its id.
    #[arg(add = complete::hosts())]
    host: String,
    /// Even while it has deckies, which are not torn down then.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    bus: Bus,
}

impl Decommission {
    pub(crate) async fn run(self, format: Format) -> Result<(), Failure> {
        let (directory, connection) = self.bus.open_if_any()?;
        let bus = ask::Bus::connect(&connection).await?;
        let hosts = lists::hosts(&bus).await?.hosts;
        let host = lists::find(&hosts, &self.host)?;
        let request = DecommissionRequest {
            host_uuid: host.host_uuid.clone(),
            force: self.force,
        };
        let asked: Result<DecommissionAccepted, _> =
            bus.ask(subjects::HOSTS_DECOMMISSION, &request).await;
        let detail = match asked {
            Ok(accepted) => accepted.detail,
            // The last time the server could not be told.
            Err(error) if error.code() == Some(ErrorCode::HostDecommissioned) => {
                "it was decommissioned before".to_owned()
            }
            Err(error) => return Err(error.into()),
        };
        eprintln!("{} ({}): {detail}", host.name, host.host_uuid);
        let mut revoked = Vec::new();
        if let Some(directory) = &directory {
            revoked = revoke_all(directory, &connection, &hosts, host).await?;
        } else {
            eprintln!(
                "There is no bus directory here, so no credentials were taken back: take the user of its agent out of the \
                 server's configuration, and reload it (nats-server --signal reload)."
            );
        }
        let done = Decommissioned {
            host_uuid: host.host_uuid.clone(),
            host_name: host.name.clone(),
            detail,
            revoked,
        };
        format.one(&done, || done.host_uuid.to_string())
    }
}

/// Takes back the credentials of this host, and of all others that are out; gives those hosts' ids.
async fn revoke_all(
    directory: &Directory,
    connection: &Connection,
    hosts: &[HostRecord],
    host: &HostRecord,
) -> Result<Vec<String>, Failure> {
    let out = |user: &issued::Issued| {
        let gone = |other: &&HostRecord| {
            other.status == HostStatus::Decommissioned || other.host_uuid == host.host_uuid
        };
        let mut gone = hosts.iter().filter(gone);
        user.role == Role::Agent && gone.any(|host| host.host_uuid.as_str() == user.user)
    };
    let mut users = issued::living(directory)?;
    users.retain(out);
    revoke(directory, AccountName::Scuttle, &users, connection).await?;
    if users.is_empty() {
        eprintln!("No credentials of it, made here, are good any more.");
    }
    for user in &users {
        let name = user.host_name.as_ref().map_or("", |name| name.as_str());
        eprintln!(
            "The credentials of {name} ({}) are good no more.",
            user.user
        );
    }
    Ok(users.into_iter().map(|user| user.user).collect())
}
