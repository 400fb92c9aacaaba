//! `scuttle enroll`: enrolls a host, with credentials that are valid for that host only.

use std::path::{Path, PathBuf};

use clap::Args;
use scuttle_schemas::hosts::{
    EnrollAccepted, EnrollRequest, HostStatus, HostUpdateAccepted, HostUpdateRequest,
};
use scuttle_schemas::{HostId, HostName, subjects};

use super::bus_options::{BusOptions, explain_existing_file, quote_for_shell};
use super::labels::collect_labels;
use crate::admin::accounts::AccountName;
use crate::admin::files::FileError;
use crate::admin::keystore::Keystore;
use crate::admin::roles::Role;
use crate::admin::user_records::{self, NewUserHosts, PreparedUser, UserRecord, UserRecordError};
use crate::client::connection::Connection;
use crate::client::lists;
use crate::client::nats_client::Client;
use crate::client::revoke::revoke_users;
use crate::client::teardown::format_host;
use crate::failure::Failure;
use crate::output::format::Format;
use crate::output::json_types::Enrolled;
use crate::parse::parse_label;

/// Enroll a host, write its agent's credentials, and print the command that starts the agent.
///
/// Without a bus directory, the host is enrolled without credentials, and the command prints what
/// is left to do.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  scuttle enroll worker-a
  scuttle enroll worker-b --label rack=3 --address 10.0.0.7 --out worker-b.creds
  scuttle enroll worker-a --renew    # new credentials; revokes the old ones")]
pub(crate) struct Enroll {
    /// Name of the host: 1 to 64 characters from A-Z a-z 0-9 . _ -.
    name: HostName,
    /// ID of the host. If not given, the controller generates an ID.
    #[arg(long, value_name = "ID")]
    host_uuid: Option<HostId>,
    /// Address of the host, as free text. `scuttle host set` changes the address of an enrolled
    /// host.
    #[arg(long)]
    address: Option<String>,
    /// Label of the host; can be repeated. `scuttle host set` changes the labels of an enrolled
    /// host.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = parse_label)]
    labels: Vec<(String, String)>,
    /// Credentials file to write. Defaults to NAME.creds in the current directory.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Create new credentials for an enrolled host, and revoke the old ones. The controller forgets
    /// the last report of the host's agent, which may have been sent with stolen credentials.
    #[arg(long)]
    renew: bool,
    #[command(flatten)]
    bus: BusOptions,
}

impl Enroll {
    pub(crate) async fn run(self, format: Format) -> Result<(), Failure> {
        let name = self.name.clone();
        let out = (self.out.clone()).unwrap_or_else(|| format!("{name}.creds").into());
        let labels = collect_labels(&self.labels)?;
        let (keystore, connection) = self.bus.open_if_present()?;
        // Before the host is enrolled, so that a failure leaves no host without credentials.
        let new_user = match &keystore {
            Some(keystore) => Some(self.prepare_user(keystore, &out)?),
            None => None,
        };
        let request = EnrollRequest {
            name: name.clone(),
            address: self.address.clone(),
            labels,
            host_uuid: self.host_uuid.clone(),
        };
        let client = Client::connect(&connection).await?;
        if self.renew {
            require_enrolled(&client, &name).await?;
        }
        let accepted: EnrollAccepted = client.request(subjects::HOSTS_ENROLL, &request).await?;
        let host = &accepted.host.host_uuid;
        let swarm = client.swarm();
        let mut credentials = None;
        if let (Some(keystore), Some(new_user)) = (&keystore, new_user) {
            self.write_credentials(keystore, &connection, host, new_user)
                .await?;
            credentials = Some(out.as_path());
            let out = describe_files(&out, connection.config.tls.ca.as_deref());
            if self.renew {
                eprintln!(
                    "New credentials of host {name} ({host}) in the swarm at {swarm}. Copy {out} to the host in place of the old, and restart the agent there:"
                );
            } else {
                eprintln!(
                    "Host {name} enrolled as {host} in the swarm at {swarm}. Copy {out} to the host, and start the agent there:"
                );
            }
        } else {
            eprintln!(
                "Host {name} enrolled as {host} in the swarm at {swarm}. There is no bus directory here, so no credentials were created: add a user for \
                 the agent to the server's configuration (see nats.conf), reload the server, and start the agent with that \
                 user's password:"
            );
        }
        let reset = if self.renew && accepted.repeated {
            reset_agent(&client, host).await
        } else {
            Ok(())
        };
        let output = Enrolled {
            start: self.agent_command(&connection, host, credentials),
            credentials: credentials.map(|path| path.display().to_string()),
            repeated: accepted.repeated,
            host: accepted.host,
        };
        format.write_one(&output, || output.start.clone())?;
        reset
    }

    /// Prepares the user of the host's agent. If the credentials file exists, the error says
    /// whether the host already has credentials.
    fn prepare_user<'a>(
        &self,
        keystore: &'a Keystore,
        out: &Path,
    ) -> Result<PreparedUser<'a>, Failure> {
        match PreparedUser::new(keystore, Role::Agent, out) {
            Err(error @ UserRecordError::File(FileError::Exists(_))) => {
                let path = out.display();
                let is_agent = |user: &UserRecord| user.host_name.as_ref() == Some(&self.name);
                let active = user_records::list_active(keystore)?;
                if !self.renew && active.iter().any(is_agent) {
                    return Err(Failure::Conflict(format!(
                        "host {} already has credentials, and {path} exists; --renew --out FILE creates new ones and revokes the old",
                        self.name
                    )));
                }
                Err(explain_existing_file(error))
            }
            prepared => Ok(prepared?),
        }
    }

    /// Writes new credentials for the host's agent, and revokes the old credentials. Fails if the
    /// host already has credentials and `--renew` is not given.
    async fn write_credentials(
        &self,
        keystore: &Keystore,
        connection: &Connection,
        host: &HostId,
        new_user: PreparedUser<'_>,
    ) -> Result<(), Failure> {
        let name = &self.name;
        let mut old = user_records::list_active(keystore)?;
        old.retain(|user| user.role == Role::Agent && user.user == host.as_str());
        if let Some(last) = old.iter().map(|user| user.at).max()
            && !self.renew
        {
            return Err(Failure::Conflict(format!(
                "host {name} ({host}) already has credentials, created {last}; --renew creates new ones and revokes the old"
            )));
        }
        new_user.create(host.as_str(), NewUserHosts::Agent(name.clone()))?;
        if !old.is_empty() {
            revoke_users(keystore, AccountName::Scuttle, &old, connection).await?;
            eprintln!("The old credentials of the host are revoked.");
        }
        Ok(())
    }

    /// Returns the shell command that starts the agent on its host.
    fn agent_command(
        &self,
        connection: &Connection,
        host: &HostId,
        credentials: Option<&Path>,
    ) -> String {
        let mut words = vec![
            "scuttle-agent".to_owned(),
            "--nats-url".to_owned(),
            connection.config.url.clone(),
        ];
        let file = |path: &Path| path.to_string_lossy().into_owned();
        match credentials {
            Some(out) => {
                words.extend(["--nats-creds".to_owned(), file(&to_absolute(out))]);
            }
            None => words.extend(["--nats-user".to_owned(), self.name.to_string()]),
        }
        if let Some(ca) = &connection.config.tls.ca {
            words.extend(["--tls-ca".to_owned(), file(&to_absolute(ca))]);
        }
        words.extend(["--host-uuid".to_owned(), host.to_string()]);
        let rest = [
            "--data-dir",
            "/var/lib/scuttle-agent",
            "--runtime",
            "docker",
        ];
        words.extend(rest.map(str::to_owned));
        let words: Vec<_> = words.iter().map(|word| quote_for_shell(word)).collect();
        words.join(" ")
    }
}

/// Names the files that the host needs: the credentials, and the certificate of the authority, if
/// the agent needs that.
fn describe_files(credentials: &Path, ca: Option<&Path>) -> String {
    let credentials = format!("the credentials {}", credentials.display());
    match ca {
        Some(ca) => format!(
            "{credentials} and the authority's certificate {}",
            ca.display()
        ),
        None => credentials,
    }
}

/// Makes a path absolute, if the current directory is known.
fn to_absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Checks that a host whose credentials are to be renewed is enrolled. A misspelt name must not
/// become a new host.
async fn require_enrolled(client: &Client, name: &HostName) -> Result<(), Failure> {
    let host = lists::resolve_host(client, name.as_str()).await?;
    if host.status == HostStatus::Decommissioned {
        return Err(Failure::Conflict(format!(
            "host {} is decommissioned; leave out --renew to enroll it again",
            format_host(&host.name, &host.host_uuid)
        )));
    }
    Ok(())
}

/// Makes the controller forget the last report of a host's agent. Otherwise, a report that was sent
/// with stolen credentials could make all reports of the real agent stale.
async fn reset_agent(client: &Client, host: &HostId) -> Result<(), Failure> {
    let request = HostUpdateRequest {
        host_uuid: host.clone(),
        name: None,
        address: None,
        labels: None,
        reset_agent: true,
    };
    let reply: Result<HostUpdateAccepted, _> =
        client.request(subjects::HOSTS_UPDATE, &request).await;
    if reply.is_err() {
        eprintln!(
            "The credentials are valid, but the agent could not be reset. If its reports are ignored as stale, run: scuttle host \
             set {host} --reset-agent"
        );
    }
    reply.map(drop).map_err(Failure::from)
}
