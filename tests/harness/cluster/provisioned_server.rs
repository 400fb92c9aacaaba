//! A nats-server with the configuration and credentials that `scuttle init` creates, and the
//! `scuttle` command for that server.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use scuttle_nats::Credentials;
use scuttle_schemas::{HostId, subjects};
use tempfile::TempDir;

use crate::clients::client::Client;
use crate::clients::fake_agent::FakeAgent;
use crate::programs::controller::Controller;
use crate::programs::scuttle::{CommandOutput, run_scuttle};
use crate::roles::RECONNECT_DELAY;
use crate::servers::nats_server::{NatsServer, ServerSetup};

/// A nats-server that `scuttle init` has configured. Dropping this value kills the server and
/// removes its files.
#[derive(Debug)]
pub struct ProvisionedServer {
    server: NatsServer,
    setup: ServerSetup,
    /// The arguments that [`run_scuttle`](Self::run_scuttle) adds to each command.
    arguments: Vec<String>,
    dir: TempDir,
}

impl ProvisionedServer {
    /// Runs `scuttle init` in a temporary directory, and starts a server with the new configuration
    /// on a free port.
    pub async fn start() -> Result<Self> {
        Self::start_with(tempfile::tempdir()?, &[], &[]).await
    }

    /// Starts a server as [`start`](Self::start) does, but in the directory `dir`. Adds
    /// `init_arguments` to `scuttle init`, and `arguments` to each command of
    /// [`run_scuttle`](Self::run_scuttle).
    pub async fn start_with(
        dir: TempDir,
        init_arguments: &[&str],
        arguments: &[&str],
    ) -> Result<Self> {
        let init = [&["init"], init_arguments].concat();
        let output = run_scuttle(dir.path(), &init, &[]).await?;
        let configuration = output.expect_success()?;
        let setup = ServerSetup {
            configuration: configuration.into(),
            dir: dir.path().to_owned(),
            store: None,
            environment: Vec::new(),
        };
        Ok(Self {
            server: NatsServer::start(&setup, None).await?,
            setup,
            arguments: arguments.iter().map(ToString::to_string).collect(),
            dir,
        })
    }

    /// Returns the URL for clients.
    pub fn url(&self) -> String {
        self.server.url()
    }

    pub fn server(&mut self) -> &mut NatsServer {
        &mut self.server
    }

    /// Stops the server and starts it again on the same port.
    pub async fn restart(&mut self) -> Result<()> {
        self.restart_on(self.server.port).await
    }

    /// Stops the server and starts it again on this port.
    pub async fn restart_on(&mut self, port: u16) -> Result<()> {
        self.server.stop().await?;
        self.server = NatsServer::start(&self.setup, Some(port)).await?;
        Ok(())
    }

    /// Returns the path of `name` in the server's directory, which is the working directory of all
    /// commands.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Returns the path of the credentials file that `scuttle init` created for a user.
    pub fn credentials(&self, user: &str) -> PathBuf {
        self.path("bus").join("creds").join(format!("{user}.creds"))
    }

    /// Runs a `scuttle` command that connects to this server.
    pub async fn run_scuttle(&self, arguments: &[&str]) -> Result<CommandOutput> {
        let more: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        let url = self.url();
        let environment = [("SCUTTLE_NATS_URL", url.as_str())];
        run_scuttle(self.dir.path(), &[arguments, &more].concat(), &environment).await
    }

    /// Enrolls a host with `name` as its name and id. Returns the path of the host's credentials
    /// file.
    pub async fn enroll(&self, name: &str) -> Result<PathBuf> {
        let arguments = ["enroll", name, "--host-uuid", name];
        self.run_scuttle(&arguments).await?.expect_success()?;
        Ok(self.path(&format!("{name}.creds")))
    }

    /// Adds a user with this role. Returns the path of the user's credentials file.
    pub async fn add_user(&self, name: &str, role: &str) -> Result<PathBuf> {
        let arguments = ["user", "add", name, "--role", role, "--dir", "bus"];
        let output = run_scuttle(self.dir.path(), &arguments, &[]).await?;
        output.expect_success()?;
        Ok(self.path(&format!("{name}.creds")))
    }

    /// Connects with this credentials file.
    pub async fn connect(&self, credentials: &Path) -> Result<Client> {
        Client::connect_with(connect_options(credentials)?, &self.url()).await
    }

    /// Connects as the agent of `host`, with this credentials file and the agent's inbox prefix.
    pub async fn connect_agent(&self, credentials: &Path, host: &HostId) -> Result<Client> {
        let options =
            connect_options(credentials)?.custom_inbox_prefix(subjects::agent_inbox_prefix(host));
        Client::connect_with(options, &self.url()).await
    }

    /// Connects with this credentials file and starts a fake agent of `host`.
    pub async fn start_agent(&self, credentials: &Path, host: &HostId) -> Result<FakeAgent> {
        let client = self.connect_agent(credentials, host).await?;
        FakeAgent::connect_with(client, host).await
    }

    /// Starts a controller and waits until it is ready.
    pub async fn start_controller(&self) -> Result<Controller> {
        let credentials = self.credentials("controller");
        let credentials = credentials.to_str().context("the path is not UTF-8")?;
        let environment = vec![("SCUTTLE_NATS_CREDS", credentials.to_owned())];
        let dir = self.path("controller");
        let controller = Controller::start(&self.url(), environment, &dir)?;
        let admin = self.connect(&self.credentials("admin")).await?;
        admin.wait_until_ready().await?;
        Ok(controller)
    }
}

/// Returns options for connecting with a credentials file and the user's inbox prefix, and for
/// reconnecting after a short delay.
pub fn connect_options(credentials: &Path) -> Result<async_nats::ConnectOptions> {
    let text = std::fs::read_to_string(credentials);
    let text = text.with_context(|| credentials.display().to_string())?;
    let prefix = Credentials::File(credentials.to_owned()).inbox_prefix();
    let prefix = prefix.context("the credentials name no user")?;
    Ok(async_nats::ConnectOptions::with_credentials(&text)?
        .custom_inbox_prefix(prefix)
        .reconnect_delay_callback(|_| RECONNECT_DELAY))
}
