//! `scuttle enroll`: a host is let in, with credentials that are good for that host alone.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use scuttle_schemas::hosts::{EnrollAccepted, EnrollRequest};
use scuttle_schemas::{HostId, HostName, Labels, subjects};

use super::{Bus, shell};
use crate::accounts::AccountName;
use crate::ask;
use crate::connect::Connection;
use crate::directory::Directory;
use crate::failure::Failure;
use crate::issued;
use crate::output::Format;
use crate::outputs::Enrolled;
use crate::revoke::revoke;
use crate::roles::Role;

/// Enrols a host, and writes its agent's credentials; prints the command that starts the agent there.
///
/// Where there is no bus directory, only the record is changed, and it is said what is left to do.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  scuttle enroll worker-a
  scuttle enroll worker-b --label rack=3 --address 10.0.0.7 --out /root/worker-b.creds
  scuttle enroll worker-a --renew          # new credentials; the old ones are good no more")]
pub(crate) struct Enroll {
    /// The host's name: 1 to 64 of A-Z a-z 0-9 . _ -.
    name: HostName,
    /// Its id; the controller makes one if absent.
    #[arg(long, value_name = "ID")]
    host_uuid: Option<HostId>,
    /// Where it is, in your own words.
    #[arg(long)]
    address: Option<String>,
    /// A label of it; may be given more than once.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// Where the credentials go; NAME.creds in this folder, if absent.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Make new credentials for a host that has some, and take those back.
    #[arg(long)]
    renew: bool,
    #[command(flatten)]
    bus: Bus,
}

impl Enroll {
    pub(crate) async fn run(self, format: Format) -> Result<(), Failure> {
        let name = self.name.clone();
        let out = (self.out.clone()).unwrap_or_else(|| format!("{name}.creds").into());
        issued::refuse_existing(&out)?;
        let labels: BTreeMap<_, _> = self.labels.iter().cloned().collect();
        let labels = Labels::try_from(labels).map_err(|error| Failure::Usage(error.to_string()))?;
        let (directory, connection) = self.bus.open_if_any()?;
        let request = EnrollRequest {
            name: name.clone(),
            address: self.address.clone(),
            labels,
            host_uuid: self.host_uuid.clone(),
        };
        let bus = ask::Bus::connect(&connection).await?;
        let accepted: EnrollAccepted = bus.ask(subjects::HOSTS_ENROLL, &request).await?;
        let host = &accepted.host.host_uuid;
        let mut credentials = None;
        if let Some(directory) = &directory {
            self.credentials(directory, &connection, host, &out).await?;
            credentials = Some(out.as_path());
            eprintln!(
                "{name} is enrolled as {host}. Its credentials are in {}: take them there, and start",
                out.display()
            );
        } else {
            eprintln!(
                "{name} is enrolled as {host}. There is no bus directory here, so no credentials were made: give its agent a \
                 user in the server's configuration (nats.conf shows one), reload it, and start with that user's password"
            );
        }
        let enrolled = Enrolled {
            start: self.agent(&connection, host, credentials),
            credentials: credentials.map(|path| path.display().to_string()),
            repeated: accepted.repeated,
            host: accepted.host,
        };
        format.one(&enrolled, || enrolled.start.clone())
    }

    /// Writes the host's credentials, and takes those back that it had.
    async fn credentials(
        &self,
        directory: &Directory,
        connection: &Connection,
        host: &HostId,
        out: &Path,
    ) -> Result<(), Failure> {
        let name = &self.name;
        let mut old = issued::living(directory)?;
        old.retain(|user| user.role == Role::Agent && user.user == host.as_str());
        if let Some(last) = old.iter().map(|user| user.at).max()
            && !self.renew
        {
            return Err(Failure::Conflict(format!(
                "{name} ({host}) has credentials, made {last}; with --renew it gets new ones, and those are taken back"
            )));
        }
        issued::issue(
            directory,
            Role::Agent,
            host.as_str(),
            Some(name.clone()),
            out,
        )?;
        if !old.is_empty() {
            revoke(directory, AccountName::Scuttle, &old, connection).await?;
            eprintln!("The credentials that it had are good no more.");
        }
        Ok(())
    }

    /// How the agent is started.
    fn agent(&self, connection: &Connection, host: &HostId, credentials: Option<&Path>) -> String {
        let mut words = vec![
            "scuttle-agent".to_owned(),
            "--nats-url".to_owned(),
            connection.access.url.clone(),
        ];
        let file = |path: &Path| path.to_string_lossy().into_owned();
        match credentials {
            Some(out) => {
                let out = std::path::absolute(out).unwrap_or_else(|_| out.to_owned());
                words.extend(["--nats-creds".to_owned(), file(&out)]);
            }
            None => words.extend(["--nats-user".to_owned(), self.name.to_string()]),
        }
        if let Some(ca) = &connection.access.tls.ca {
            words.extend(["--tls-ca".to_owned(), file(ca)]);
        }
        words.extend(["--host-uuid".to_owned(), host.to_string()]);
        let rest = [
            "--data-dir",
            "/var/lib/scuttle-agent",
            "--runtime",
            "docker",
        ];
        words.extend(rest.map(str::to_owned));
        let words: Vec<_> = words.iter().map(|word| shell(word)).collect();
        words.join(" ")
    }
}

fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("it must be KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}
