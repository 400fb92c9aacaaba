//! What all measurements share: one nats-server, one folder on one disk, one generator.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, bail};
use scuttle_tests::Client;
use scuttle_tests::programs::program;
use tempfile::TempDir;

use crate::How;
use crate::load::{Generator, Order, Pace, Targets, What};
use crate::samples::Sample;
use crate::server::{self, Server};

/// Dropping it ends its processes and removes its files.
pub(crate) struct Stage {
    pub(crate) how: How,
    pub(crate) server: Server,
    pub(crate) client: Client,
    pub(crate) generator: Generator,
    dir: TempDir,
    logs: AtomicU32,
}

impl Stage {
    pub(crate) async fn set(how: &How) -> Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("bench-")
            .tempdir_in(on_disk()?)?;
        let server = Server::start(dir.path(), "nats", None).await?;
        Ok(Self {
            how: how.clone(),
            client: server::connect(&server.url).await?,
            server,
            generator: Generator::start()?,
            dir,
            logs: AtomicU32::new(0),
        })
    }

    /// An order for the shared server, which is watched: for as long as every other.
    pub(crate) fn order(
        &self,
        what: What,
        subject: &str,
        targets: Targets,
        pace: Pace,
    ) -> Result<Order> {
        Ok(Order {
            url: self.server.url.clone(),
            login: None,
            subject: subject.to_owned(),
            what,
            targets,
            only: Vec::new(),
            pace,
            millis: self.how.seconds.as_millis() as u64,
            watch: vec![self.server.id()?],
        })
    }

    /// Has an order carried out, and the process watched that serves it.
    pub(crate) async fn carry_out(
        &mut self,
        mut order: Order,
        service: u32,
        (name, in_flight, round): (&'static str, u16, u32),
    ) -> Result<Sample> {
        // Behind the server: its place in what is printed.
        order.watch.insert(1, service);
        let load = self.generator.carry_out(&order).await?;
        Ok(Sample::of(name, in_flight, round, &load))
    }

    /// A log that nobody has written to.
    pub(crate) fn log(&self, name: &str) -> PathBuf {
        let number = self.logs.fetch_add(1, Ordering::Relaxed);
        self.dir().join(format!("{name}-{number}.log"))
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }
}

/// The build's own folder: a real disk, where /tmp may be memory.
fn on_disk() -> Result<PathBuf> {
    let controller = program("scuttle-controller");
    if !controller.is_file() {
        bail!(
            "no {}: run `cargo xtask bench`, which builds it",
            controller.display()
        );
    }
    let dir = controller.parent().and_then(Path::parent);
    Ok(dir.context("the controller's folder")?.to_owned())
}
