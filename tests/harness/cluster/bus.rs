//! A nats-server with the configuration that the real `scuttle init` makes, and that command itself.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use scuttle_schemas::{HostId, subjects};
use tempfile::TempDir;

use crate::clients::client::Client;
use crate::clients::fake_agent::FakeAgent;
use crate::programs::bare;
use crate::programs::controller::Controller;
use crate::servers::nats_server::{Server, Setup};
use crate::wait::within;

/// A bus of one test. Dropping it ends its server and removes its files.
#[derive(Debug)]
pub struct Bus {
    server: Server,
    setup: Setup,
    extra: Vec<String>,
    dir: TempDir,
}

/// How a `scuttle` command ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code.
    pub code: i32,
    /// Its standard output, without the last line's end.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

impl Ended {
    /// The output of a command that must have succeeded.
    ///
    /// # Errors
    /// It has not.
    pub fn done(self) -> Result<String> {
        ensure!(self.code == 0, "{self:?}");
        Ok(self.out)
    }

    /// Checks the exit code, and that the error has these words.
    ///
    /// # Errors
    /// It is another, or they are not in it.
    pub fn failed(self, code: i32, words: &[&str]) -> Result<()> {
        ensure!(self.code == code, "expected {code}: {self:?}");
        let found = words.iter().all(|word| self.err.contains(word));
        ensure!(found && self.out.is_empty(), "expected {words:?}: {self:?}");
        Ok(())
    }
}

impl Bus {
    /// Makes a bus and starts its server on a free port.
    ///
    /// # Errors
    /// It cannot be made or started.
    pub async fn start() -> Result<Self> {
        Self::start_with(tempfile::tempdir()?, &[], &[]).await
    }

    /// The same in this directory, with more arguments for `init`, and for each other command.
    ///
    /// # Errors
    /// As `start`.
    pub async fn start_with(dir: TempDir, init: &[&str], extra: &[&str]) -> Result<Self> {
        let words = [&["init"], init].concat();
        let configuration = scuttle(dir.path(), &words, &[]).await?.done()?;
        let setup = Setup {
            configuration: configuration.into(),
            dir: dir.path().to_owned(),
            store: None,
            environment: Vec::new(),
        };
        Ok(Self {
            server: Server::start(&setup, None).await?,
            setup,
            extra: extra.iter().map(|word| (*word).to_owned()).collect(),
            dir,
        })
    }

    /// Where clients connect.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.server.port)
    }

    /// The server.
    pub fn server(&mut self) -> &mut Server {
        &mut self.server
    }

    /// Stops the server and starts it again on the same port.
    ///
    /// # Errors
    /// It does not stop or start.
    pub async fn restart(&mut self) -> Result<()> {
        self.server.stop().await?;
        self.server = Server::start(&self.setup, Some(self.server.port)).await?;
        Ok(())
    }

    /// A path of this test's own; commands run in that folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Credentials that `init` made.
    pub fn creds(&self, user: &str) -> PathBuf {
        self.path("bus").join("creds").join(format!("{user}.creds"))
    }

    /// Runs `scuttle` on this bus.
    ///
    /// # Errors
    /// It cannot be started, or does not end.
    pub async fn scuttle(&self, words: &[&str]) -> Result<Ended> {
        let extra: Vec<&str> = self.extra.iter().map(String::as_str).collect();
        let url = self.url();
        let environment = [("SCUTTLE_NATS_URL", url.as_str())];
        scuttle(self.dir.path(), &[words, &extra].concat(), &environment).await
    }

    /// Enrols a host under its name as its id; gives its credentials.
    ///
    /// # Errors
    /// It is refused.
    pub async fn enroll(&self, name: &str) -> Result<PathBuf> {
        let words = ["enroll", name, "--host-uuid", name];
        self.scuttle(&words).await?.done()?;
        Ok(self.path(&format!("{name}.creds")))
    }

    /// Makes a user; gives its credentials.
    ///
    /// # Errors
    /// It is refused.
    pub async fn user(&self, name: &str, role: &str) -> Result<PathBuf> {
        let words = ["user", "add", name, "--role", role, "--dir", "bus"];
        scuttle(self.dir.path(), &words, &[]).await?.done()?;
        Ok(self.path(&format!("{name}.creds")))
    }

    /// A connection with credentials.
    ///
    /// # Errors
    /// The server refuses them.
    pub async fn client(&self, creds: &Path) -> Result<Client> {
        Client::with(options(creds)?, &self.url()).await
    }

    /// The connection of a host's agent.
    ///
    /// # Errors
    /// The server refuses it.
    pub async fn host_client(&self, creds: &Path, host: &HostId) -> Result<Client> {
        let options = options(creds)?.custom_inbox_prefix(subjects::agent_inbox_prefix(host));
        Client::with(options, &self.url()).await
    }

    /// A host's agent.
    ///
    /// # Errors
    /// The server refuses it.
    pub async fn agent(&self, creds: &Path, host: &HostId) -> Result<FakeAgent> {
        FakeAgent::over(self.host_client(creds, host).await?, host).await
    }

    /// Starts a controller, and waits until it answers.
    ///
    /// # Errors
    /// It does not start.
    pub async fn controller(&self) -> Result<Controller> {
        let creds = self.creds("controller");
        let creds = creds.to_str().context("a path of text")?.to_owned();
        let environment = vec![("SCUTTLE_NATS_CREDS", creds)];
        let dir = self.path("controller");
        let controller = Controller::start_at(&self.url(), environment, &dir)?;
        let admin = self.client(&self.creds("admin")).await?;
        admin.answered().await?;
        Ok(controller)
    }
}

/// Options to connect with credentials: quick to come back when the server does.
///
/// # Errors
/// The file holds none.
pub fn options(creds: &Path) -> Result<async_nats::ConnectOptions> {
    let text = std::fs::read_to_string(creds).with_context(|| creds.display().to_string())?;
    Ok(async_nats::ConnectOptions::with_credentials(&text)?
        .reconnect_delay_callback(|_| Duration::from_millis(20)))
}

/// Runs `scuttle` in this folder, with its bus directory in `bus`.
///
/// # Errors
/// It cannot be started, or does not end.
pub async fn scuttle(folder: &Path, words: &[&str], environment: &[(&str, &str)]) -> Result<Ended> {
    let mut command = bare("scuttle");
    command
        .args(words)
        .current_dir(folder)
        .env("SCUTTLE_BUS_DIR", "bus")
        .envs(environment.iter().copied());
    ended(command, words).await
}

/// Waits for the end of a `scuttle` command that was made ready to start. There is no terminal that it could ask.
///
/// # Errors
/// It cannot be started, or does not end.
pub async fn ended(mut command: tokio::process::Command, words: &[&str]) -> Result<Ended> {
    command
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true);
    let ended = within(&format!("scuttle {words:?} ends"), command.output()).await?;
    let Output {
        status,
        stdout,
        stderr,
    } = ended.with_context(|| format!("start scuttle {words:?}"))?;
    Ok(Ended {
        code: status.code().context("scuttle was killed")?,
        out: String::from_utf8(stdout)?.trim_end().to_owned(),
        err: String::from_utf8(stderr)?,
    })
}
