//! `scuttle init`: creates the bus directory, completely or not at all.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::{fs, process};

use async_nats::ServerAddr;
use clap::Args;
use nkeys::KeyPair;
use scuttle_nats::tls::check_server_certificate;
use scuttle_nats::{ConnectConfig, Credentials, Tls};

use super::bus_options::{DirectoryOption, quote_for_shell};
use crate::admin::accounts::AccountName;
use crate::admin::files::{self, FileError, Readers};
use crate::admin::jwt::claims::{Kind, Operator};
use crate::admin::jwt::token::{Claims, JwtError};
use crate::admin::keystore::{ADMIN_USER, DEFAULT_DIRECTORY, KeyName, Keystore, KeystoreError};
use crate::admin::roles::Role;
use crate::admin::server_address::ServerAddress;
use crate::admin::server_config::{ServerConfig, ServerTls};
use crate::admin::user_records::{NewUserHosts, PreparedUser};
use crate::clock::{now, to_unix_seconds};
use crate::failure::Failure;
use crate::output::format::Format;
use crate::output::json_types::Initialised;

/// The name of the NATS server's configuration file.
const CONFIG_FILE: &str = "nats-server.conf";

/// Create the keys, the accounts and the configuration of a NATS server.
///
/// Prints the path of the configuration file. In the bus directory, `keys` and `creds` are secret,
/// and `server` contains all files that the NATS server needs.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  scuttle init
  scuttle init --dir /etc/scuttle/bus --host 10.0.0.1 \\
    --server-cert server.crt --server-key server.key
  scuttle init --host 0.0.0.0 --url tls://nats.example:4222 --server-ca ca.pem \\
    --server-cert server.crt --server-key server.key")]
pub(crate) struct Init {
    #[command(flatten)]
    directory: DirectoryOption,
    /// Address for the server to listen on. Any address other than loopback needs a certificate.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    host: IpAddr,
    /// Port for the server to listen on.
    #[arg(long, default_value_t = 4222, value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    /// Port for browsers (WebSocket). Disabled if not given.
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    websocket_port: Option<u16>,
    /// Certificate of the server (PEM).
    #[arg(long, value_name = "FILE", requires = "server_key")]
    server_cert: Option<PathBuf>,
    /// Private key of the server's certificate (PEM).
    #[arg(long, value_name = "FILE", requires = "server_cert")]
    server_key: Option<PathBuf>,
    /// Certificate of the authority that signed the server's certificate (PEM), if programs do not
    /// trust that authority already. The bus directory keeps a copy for the commands that log in
    /// with it.
    #[arg(long, value_name = "FILE", requires = "server_cert")]
    server_ca: Option<PathBuf>,
    /// Address at which programs reach the server. The bus directory records it. Defaults to the
    /// address and port to listen on.
    #[arg(long)]
    url: Option<String>,
    /// Require programs to present a certificate signed by an authority in this file (PEM).
    #[arg(long, value_name = "FILE", requires = "server_cert")]
    client_ca: Option<PathBuf>,
}

impl Init {
    pub(crate) fn run(self, format: Format) -> Result<(), Failure> {
        let root = files::to_absolute(self.directory.path())?;
        if root.exists() {
            return Err(FileError::Exists(root).into());
        }
        let tls = self.server_tls()?;
        if tls.is_none() && !self.host.is_loopback() {
            return Err(Failure::Usage(format!(
                "cannot listen on {} without a certificate, because others on the network could read and change the traffic: give --server-cert and --server-key",
                self.host
            )));
        }
        let address = self.client_address(tls.as_ref())?;
        // The directory is created under another name and then renamed, so that a partial directory
        // never appears at the final path.
        let parent = root.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(parent).map_err(|cause| FileError::Failed {
            verb: "create the directory",
            path: parent.to_owned(),
            cause,
        })?;
        let name = root.file_name().unwrap_or_default().to_string_lossy();
        let unfinished = parent.join(format!(".{name}.{}", process::id()));
        let created = self
            .create(&unfinished, &root, tls.as_ref(), &address)
            .and_then(|()| Ok(files::publish_directory(&unfinished, &root)?));
        if let Err(failure) = created {
            let _ = fs::remove_dir_all(&unfinished);
            return Err(failure);
        }
        self.print_next_steps(&root, &address);
        let config_file = root.join("server").join(CONFIG_FILE);
        let output = Initialised {
            directory: root.display().to_string(),
            configuration: config_file.display().to_string(),
            url: address.url,
        };
        format.write_one(&output, || output.configuration.clone())
    }

    /// Checks the given certificate files, and returns their absolute paths. Returns `None` if no
    /// server certificate is given.
    fn server_tls(&self) -> Result<Option<ServerTls>, Failure> {
        let check = |path: &Path, what, label| {
            scuttle_nats::file::check_pem(what, label, path)?;
            Ok::<_, Failure>(files::to_absolute(path)?)
        };
        let (Some(certificate), Some(key)) = (&self.server_cert, &self.server_key) else {
            return Ok(None);
        };
        let certificate = check(certificate, "server's certificate", "CERTIFICATE")?;
        let key = check(key, "server's private key", "PRIVATE KEY")?;
        let client_ca = (self.client_ca.as_deref())
            .map(|path| check(path, "authority's certificate", "CERTIFICATE"))
            .transpose()?;
        Ok(Some(ServerTls {
            certificate,
            key,
            client_ca,
        }))
    }

    /// Returns the address at which programs reach the server, and reads the certificate of the
    /// server's authority. Checks that programs can connect there with the server's certificate.
    fn client_address(&self, tls: Option<&ServerTls>) -> Result<ClientAddress, Failure> {
        let url = self.url.clone().unwrap_or_else(|| {
            let scheme = if tls.is_some() { "tls" } else { "nats" };
            let host = match self.host {
                IpAddr::V4(host) if host.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
                IpAddr::V6(host) if host.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
                host => host,
            };
            format!("{scheme}://{}", SocketAddr::new(host, self.port))
        });
        let config = ConnectConfig {
            url: url.clone(),
            credentials: Credentials::Anonymous,
            tls: Tls {
                ca: self.server_ca.clone(),
                own: None,
            },
        };
        // Reads the authority's certificate, so that an error names the file.
        config.connect_options()?;
        let servers = config.server_addresses()?;
        if let Some(tls) = tls {
            if !servers.iter().all(ServerAddr::tls_required) {
                return Err(Failure::Usage(format!(
                    "the server accepts only TLS with its certificate: write --url tls://HOST:PORT, not {url}"
                )));
            }
            let ca = self.server_ca.as_deref();
            check_server_certificate(&tls.certificate, &tls.key, ca, &servers)?;
        } else if servers.iter().any(ServerAddr::tls_required) {
            return Err(Failure::Usage(format!(
                "programs cannot connect to {url} with TLS, because the server has no certificate: give --server-cert and --server-key"
            )));
        }
        let ca = self.server_ca.as_deref().map(files::read).transpose()?;
        Ok(ClientAddress { url, ca })
    }

    /// Creates the bus directory at the temporary path `path`. The paths in its files begin with
    /// `root`, to which the finished directory is renamed.
    fn create(
        &self,
        path: &Path,
        root: &Path,
        tls: Option<&ServerTls>,
        address: &ClientAddress,
    ) -> Result<(), Failure> {
        let keystore = Keystore::create(path)?;
        ServerAddress::write(path, &address.url, address.ca.as_deref())?;
        let accounts = create_accounts(&keystore)?;
        let config = ServerConfig {
            host: &self.host.to_string(),
            port: self.port,
            websocket_port: self.websocket_port,
            tls,
            data_directory: &root.join("server"),
            operator: &accounts.operator_token,
            system_account: &accounts.system_account,
        };
        let config_file = keystore.server_file(CONFIG_FILE);
        files::write_new(&config_file, Readers::All, &config.render())?;
        for (role, user) in [
            (Role::Controller, Role::Controller.name()),
            (Role::System, Role::System.name()),
            (Role::Operator, ADMIN_USER),
        ] {
            let file = keystore.credentials(user);
            PreparedUser::new(&keystore, role, &file)?.create(user, NewUserHosts::None)?;
        }
        Ok(())
    }

    fn print_next_steps(&self, root: &Path, address: &ClientAddress) {
        let quote = |path: PathBuf| quote_for_shell(&path.to_string_lossy());
        let config_file = quote(root.join("server").join(CONFIG_FILE));
        let credentials = quote(root.join("creds/controller.creds"));
        let url = &address.url;
        let ca = match &address.ca {
            Some(_) => format!(" --tls-ca {}", quote(root.join("ca.pem"))),
            None => String::new(),
        };
        eprintln!(
            "Created {} for the server at {url}. Next steps:",
            root.display()
        );
        eprintln!("  nats-server -c {config_file}");
        eprintln!(
            "  scuttle-controller --nats-url {url}{ca} --nats-creds {credentials} --data-dir DIR"
        );
        if root.file_name() != Some(DEFAULT_DIRECTORY.as_ref()) {
            eprintln!("  export SCUTTLE_BUS_DIR={}", quote(root.to_owned()));
        }
        eprintln!("  scuttle enroll NAME");
        if self.url.is_none() && self.host.is_unspecified() {
            eprintln!(
                "Other machines cannot reach the server at {url}: change the URL in {} to an address that they can reach.",
                root.join("client.json").display()
            );
        }
        eprintln!("keys/root.seed is not needed for these steps: move it to a safe place.");
    }
}

/// The address at which programs reach the server, and the text of the certificate of the server's
/// authority.
struct ClientAddress {
    url: String,
    ca: Option<String>,
}

/// The values that the server's configuration needs from the created accounts.
struct CreatedAccounts {
    operator_token: String,
    /// The public key of the system account.
    system_account: String,
}

/// Creates the operator's keys, the signing key of each role, and the tokens of all accounts.
fn create_accounts(keystore: &Keystore) -> Result<CreatedAccounts, Failure> {
    let root = keystore.create_key(KeyName::Root)?;
    let signer = keystore.create_key(KeyName::Accounts)?;
    let mut role_keys = Vec::new();
    for role in Role::ALL {
        role_keys.push((role, keystore.create_key(KeyName::Role(role))?));
    }
    // The seed of an account is not kept, because it signs nothing: the operator's key signs
    // accounts, and the keys of the roles sign users.
    let identities = AccountName::ALL.map(|name| (name, KeyPair::new_account().public_key()));
    let identity = |wanted: AccountName| {
        let (_, key) = identities.iter().find(|(name, _)| *name == wanted)?;
        Some(key.clone())
    };
    let scuttle = identity(AccountName::Scuttle).unwrap_or_default();
    let system = identity(AccountName::System).unwrap_or_default();
    let issued_at = to_unix_seconds(now());
    for (name, key) in &identities {
        let claims = name.claims(&scuttle, &system, &role_keys);
        let claims = Claims::new(name.name(), key.clone(), issued_at, claims);
        keystore.store_account(*name, claims, &signer)?;
    }
    let nats = Operator {
        signing_keys: vec![signer.public_key()],
        system_account: system.clone(),
        strict_signing_key_usage: true,
        kind: Kind::operator(),
    };
    let operator = Claims::new("scuttle", root.public_key(), issued_at, nats);
    let failed = |cause: JwtError| KeystoreError::Token {
        path: keystore.server_file(CONFIG_FILE),
        cause,
    };
    Ok(CreatedAccounts {
        operator_token: operator.sign(&root).map_err(failed)?,
        system_account: system,
    })
}
