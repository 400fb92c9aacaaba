//! `scuttle init`: makes the bus directory, whole or not at all.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::{fs, process};

use clap::Args;
use nkeys::KeyPair;

use super::Place;
use crate::accounts::AccountName;
use crate::directory::{ADMIN, Directory, DirectoryError, KeyName};
use crate::failure::Failure;
use crate::files::{self, FileError, Readers};
use crate::issued::{self, now, seconds};
use crate::jwt::claims::{Kind, Operator};
use crate::jwt::{Claims, JwtError};
use crate::output::Format;
use crate::outputs::Initialised;
use crate::roles::Role;
use crate::server_conf::{Server, ServerTls};

/// Makes the keys, the accounts and the server's configuration.
///
/// Prints the path of the configuration. In the bus directory, `keys` and `creds` are secret, and `server` is what the NATS server
/// needs.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  scuttle init
  scuttle init --dir /etc/scuttle/bus --host 10.0.0.1 --server-cert server.crt --server-key server.key")]
pub(crate) struct Init {
    #[command(flatten)]
    place: Place,
    /// The address that the server listens on; beyond loopback it needs a certificate.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    host: IpAddr,
    /// The server's port.
    #[arg(long, default_value_t = 4222, value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    /// The server's port for browsers; none if absent.
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    websocket_port: Option<u16>,
    /// The server's certificate (PEM).
    #[arg(long, value_name = "FILE", requires = "server_key")]
    server_cert: Option<PathBuf>,
    /// The private key of that certificate (PEM).
    #[arg(long, value_name = "FILE", requires = "server_cert")]
    server_key: Option<PathBuf>,
    /// Let in only programs that show a certificate of the authorities in this file (PEM).
    #[arg(long, value_name = "FILE", requires = "server_cert")]
    client_ca: Option<PathBuf>,
}

impl Init {
    pub(crate) fn run(self, format: Format) -> Result<(), Failure> {
        let root = files::absolute(self.place.path())?;
        if root.exists() {
            return Err(FileError::Exists(root).into());
        }
        let tls = self.tls()?;
        if tls.is_none() && !self.host.is_loopback() {
            return Err(Failure::Usage(format!(
                "{} is beyond loopback, where anybody on the way can read and change what is said: give --server-cert and --server-key",
                self.host
            )));
        }
        // Made beside its place and moved there: a half of one could not be told from a whole one.
        let parent = root.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(parent).map_err(|cause| FileError::Failed {
            verb: "make the folder",
            path: parent.to_owned(),
            cause,
        })?;
        let name = root.file_name().unwrap_or_default().to_string_lossy();
        let unfinished = parent.join(format!(".{name}.{}", process::id()));
        let made = self
            .make(&unfinished, &root, tls.as_ref())
            .and_then(|()| Ok(files::publish_folder(&unfinished, &root)?));
        if let Err(failure) = made {
            let _ = fs::remove_dir_all(&unfinished);
            return Err(failure);
        }
        Self::explain(&root);
        let made = Initialised {
            directory: root.display().to_string(),
            configuration: root
                .join("server")
                .join(CONFIGURATION)
                .display()
                .to_string(),
        };
        format.one(&made, || made.configuration.clone())
    }

    /// The server's certificate, if it has one: whole paths of files that hold what they should.
    fn tls(&self) -> Result<Option<ServerTls>, Failure> {
        let file = |path: &Path, what, label| {
            scuttle_nats::check_pem(what, label, path)?;
            Ok::<_, Failure>(files::absolute(path)?)
        };
        let (Some(certificate), Some(key)) = (&self.server_cert, &self.server_key) else {
            return Ok(None);
        };
        let certificate = file(certificate, "server's certificate", "CERTIFICATE")?;
        let key = file(key, "server's private key", "PRIVATE KEY")?;
        let clients = (self.client_ca.as_deref())
            .map(|path| file(path, "authority's certificate", "CERTIFICATE"))
            .transpose()?;
        Ok(Some(ServerTls {
            certificate,
            key,
            clients,
        }))
    }

    /// Writes everything into `folder`, which will be `root`.
    fn make(&self, folder: &Path, root: &Path, tls: Option<&ServerTls>) -> Result<(), Failure> {
        let directory = Directory::create(folder)?;
        let (operator, system_account) = make_accounts(&directory)?;
        let server = Server {
            host: &self.host.to_string(),
            port: self.port,
            websocket_port: self.websocket_port,
            tls,
            folder: &root.join("server"),
            operator: &operator,
            system_account: &system_account,
        };
        let configuration = directory.server(CONFIGURATION);
        files::write_new(&configuration, Readers::All, &server.text())?;
        for (role, user) in [
            (Role::Controller, Role::Controller.name()),
            (Role::System, Role::System.name()),
            (Role::Operator, ADMIN),
        ] {
            issued::issue(&directory, role, user, None, &directory.creds(user))?;
        }
        Ok(())
    }

    fn explain(root: &Path) {
        let configuration = root.join("server").join(CONFIGURATION);
        let creds = root.join("creds/controller.creds");
        eprintln!("Made {}. What follows:", root.display());
        eprintln!(
            "  nats-server -c {}",
            super::shell(&configuration.to_string_lossy())
        );
        eprintln!(
            "  scuttle-controller --nats-creds {} --data-dir DIR",
            super::shell(&creds.to_string_lossy())
        );
        eprintln!("  scuttle enroll NAME");
        eprintln!("keys/root.seed is needed no more: move it to a safe place.");
    }
}

/// The server's configuration file.
const CONFIGURATION: &str = "nats-server.conf";

/// Makes every key and account; gives the operator's token and the system account's public key.
fn make_accounts(directory: &Directory) -> Result<(String, String), Failure> {
    let root = directory.make_key(KeyName::Root)?;
    let signer = directory.make_key(KeyName::Accounts)?;
    let mut roles = Vec::new();
    for role in Role::ALL {
        roles.push((role, directory.make_key(KeyName::Role(role))?));
    }
    // An account's own seed signs nothing: the operator's key signs accounts, the roles' keys sign users.
    let identities = AccountName::ALL.map(|name| (name, KeyPair::new_account().public_key()));
    let identity = |wanted: AccountName| {
        let (_, key) = identities.iter().find(|(name, _)| *name == wanted)?;
        Some(key.clone())
    };
    let scuttle = identity(AccountName::Scuttle).unwrap_or_default();
    let system = identity(AccountName::System).unwrap_or_default();
    let at = seconds(now());
    for (name, key) in &identities {
        let claims = name.claims(&scuttle, &system, &roles);
        let claims = Claims::new(name.name(), key.clone(), at, claims);
        directory.put_account(*name, claims, &signer)?;
    }
    let nats = Operator {
        signing_keys: vec![signer.public_key()],
        system_account: system.clone(),
        strict_signing_key_usage: true,
        kind: Kind::operator(),
    };
    let operator = Claims::new("scuttle", root.public_key(), at, nats);
    let failed = |cause: JwtError| DirectoryError::Token {
        path: directory.server(CONFIGURATION),
        cause,
    };
    Ok((operator.sign(&root).map_err(failed)?, system))
}
