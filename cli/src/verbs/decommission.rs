//! `scuttle decommission`: a host is let out, by the controller and by the NATS server.

use clap::Args;
use scuttle_schemas::hosts::{
    DecommissionAccepted, DecommissionRequest, HostRecord, HostStatus, HostsList, HostsListRequest,
};
use scuttle_schemas::{ErrorCode, subjects};

use super::Bus;
use crate::accounts::AccountName;
use crate::ask::{self, AskError};
use crate::failure::Failure;
use crate::issued;
use crate::revoke::revoke;
use crate::roles::Role;

/// Takes a host out of the swarm, and takes its credentials back: the server closes its agent's connection at once.
///
/// Also takes back those of hosts that were decommissioned in another way. If the server cannot be told, run it again.
#[derive(Debug, Args)]
pub(crate) struct Decommission {
    /// The host's name or its id.
    host: String,
    /// Even while it has deckies, which are not torn down then.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    bus: Bus,
}

impl Decommission {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let directory = self.bus.directory()?;
        let access = self.bus.access(&directory);
        let mut bus = ask::Bus::connect(&access).await?;
        let hosts = hosts(&mut bus).await?;
        let host = find(&hosts, &self.host).ok_or_else(|| {
            Failure::NotFound(format!(
                "there is no host with the name or id {}",
                self.host
            ))
        })?;
        let request = DecommissionRequest {
            host_uuid: host.host_uuid.clone(),
            force: self.force,
        };
        let asked: Result<DecommissionAccepted, _> =
            bus.ask(subjects::HOSTS_DECOMMISSION, &request).await;
        match asked {
            Ok(accepted) => eprintln!("{} ({}): {}", host.name, host.host_uuid, accepted.detail),
            // The last time the server could not be told.
            Err(error) if error.code() == Some(ErrorCode::HostDecommissioned) => {
                eprintln!(
                    "{} ({}) was decommissioned before.",
                    host.name, host.host_uuid
                );
            }
            Err(error) => return Err(error.into()),
        }
        let out = |user: &issued::Issued| {
            let gone = |other: &&HostRecord| {
                other.status == HostStatus::Decommissioned || other.host_uuid == host.host_uuid
            };
            let mut gone = hosts.iter().filter(gone);
            user.role == Role::Agent && gone.any(|host| host.host_uuid.as_str() == user.user)
        };
        let mut users = issued::living(&directory)?;
        users.retain(out);
        revoke(&directory, AccountName::Scuttle, &users, &access).await?;
        if users.is_empty() {
            eprintln!("No credentials of it, made here, are good any more.");
        }
        for user in users {
            let name = user.host_name.as_ref().map_or("", |name| name.as_str());
            eprintln!(
                "The credentials of {name} ({}) are good no more.",
                user.user
            );
        }
        println!("{}", host.host_uuid);
        Ok(())
    }
}

/// The host with this id, else the living one with this name, else any with this name.
fn find<'a>(hosts: &'a [HostRecord], wanted: &str) -> Option<&'a HostRecord> {
    let living = |host: &&HostRecord| host.status != HostStatus::Decommissioned;
    let named = || hosts.iter().filter(|host| host.name.as_str() == wanted);
    (hosts.iter().find(|host| host.host_uuid.as_str() == wanted))
        .or_else(|| named().find(living))
        .or_else(|| named().next_back())
}

async fn hosts(bus: &mut ask::Bus) -> Result<Vec<HostRecord>, AskError> {
    let mut hosts = Vec::new();
    let mut request = HostsListRequest::default();
    loop {
        let page: HostsList = bus.ask(subjects::HOSTS_LIST, &request).await?;
        hosts.extend(page.hosts);
        match page.next {
            Some(next) => request.after = Some(next),
            None => return Ok(hosts),
        }
    }
}
