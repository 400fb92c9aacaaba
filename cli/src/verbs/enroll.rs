//! `scuttle enroll`: a host is let in, with credentials that are good for that host alone.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use scuttle_schemas::hosts::{EnrollAccepted, EnrollRequest};
use scuttle_schemas::{HostId, HostName, Labels, subjects};

use super::{Bus, shell};
use crate::accounts::AccountName;
use crate::ask;
use crate::failure::Failure;
use crate::issued;
use crate::revoke::revoke;
use crate::roles::Role;

/// Enrols a host, and writes its agent's credentials; prints the command that starts the agent there.
#[derive(Debug, Args)]
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
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let name = self.name.clone();
        let out = (self.out.clone()).unwrap_or_else(|| format!("{name}.creds").into());
        issued::refuse_existing(&out)?;
        let labels: BTreeMap<_, _> = self.labels.iter().cloned().collect();
        let labels = Labels::try_from(labels).map_err(|error| Failure::Usage(error.to_string()))?;
        let directory = self.bus.directory()?;
        let access = self.bus.access(&directory);
        let request = EnrollRequest {
            name: name.clone(),
            address: self.address.clone(),
            labels,
            host_uuid: self.host_uuid.clone(),
        };
        let mut bus = ask::Bus::connect(&access).await?;
        let accepted: EnrollAccepted = bus.ask(subjects::HOSTS_ENROLL, &request).await?;
        let host = accepted.host.host_uuid;

        let mut old = issued::living(&directory)?;
        old.retain(|user| user.role == Role::Agent && user.user == host.as_str());
        if let Some(last) = old.iter().map(|user| user.at).max()
            && !self.renew
        {
            return Err(Failure::Conflict(format!(
                "{name} ({host}) has credentials, made {last}; with --renew it gets new ones, and those are taken back"
            )));
        }
        issued::issue(
            &directory,
            Role::Agent,
            host.as_str(),
            Some(name.clone()),
            &out,
        )?;
        eprintln!(
            "{name} is enrolled as {host}. Its credentials are in {}: take them there, and start",
            out.display()
        );
        println!("{}", self.agent(&host, &out));
        if !old.is_empty() {
            revoke(&directory, AccountName::Scuttle, &old, &access).await?;
            eprintln!("The credentials that it had are good no more.");
        }
        Ok(())
    }

    /// How the agent is started.
    fn agent(&self, host: &HostId, out: &Path) -> String {
        let out = std::path::absolute(out).unwrap_or_else(|_| out.to_owned());
        let mut words = vec![
            "scuttle-agent".to_owned(),
            "--nats-url".to_owned(),
            self.bus.nats.nats_url.clone(),
            "--nats-creds".to_owned(),
            out.to_string_lossy().into_owned(),
        ];
        if let Some(ca) = &self.bus.nats.tls_ca {
            words.extend(["--tls-ca".to_owned(), ca.to_string_lossy().into_owned()]);
        }
        words.extend(["--host-uuid".to_owned(), host.to_string()]);
        let rest = [
            "--data-dir",
            "/var/lib/scuttle-agent",
            "--runtime",
            "docker",
        ];
        words.extend(rest.map(str::to_owned));
        words
            .iter()
            .map(|word| shell(word))
            .collect::<Vec<_>>()
            .join(" ")
    }
}

fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("it must be KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}
