//! The parts that the measurements share: a nats-server, a folder on a disk, and the load
//! generator.
//!
//! Services are compared on this plain server, because the servers of the test harness have
//! accounts and passwords. The workloads that need several servers use those of the test harness.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, bail};
use scuttle_tests::Client;
use scuttle_tests::programs::program_path;
use tempfile::TempDir;

use crate::arguments::Options;
use crate::environment::nats_server::{self, Server};
use crate::load::driver::Generator;
use crate::load::spec::{LoadSpec, Pace, RequestKind, Targets};
use crate::report::samples::{Sample, Series};

/// The environment of a measurement. Dropping this value ends its processes and removes its files.
pub(crate) struct Environment {
    pub(crate) options: Options,
    pub(crate) server: Server,
    pub(crate) client: Client,
    pub(crate) generator: Generator,
    dir: TempDir,
    log_count: AtomicU32,
}

impl Environment {
    pub(crate) async fn start(options: &Options) -> Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("bench-")
            .tempdir_in(find_disk()?)?;
        let server = Server::start(dir.path(), "nats", None).await?;
        Ok(Self {
            options: options.clone(),
            client: nats_server::connect(&server.url).await?,
            server,
            generator: Generator::start()?,
            dir,
            log_count: AtomicU32::new(0),
        })
    }

    /// Returns a load for the shared server that also measures the server's CPU time. The
    /// `--seconds` option sets the duration of the load.
    pub(crate) fn load(
        &self,
        kind: RequestKind,
        subject: &str,
        targets: Targets,
        pace: Pace,
    ) -> Result<LoadSpec> {
        Ok(LoadSpec {
            url: self.server.url.clone(),
            login: None,
            subject: subject.to_owned(),
            kind,
            targets,
            only: Vec::new(),
            pace,
            millis: self.options.seconds.as_millis() as u64,
            watch: vec![self.server.id()?],
        })
    }

    /// Runs a load and returns its figures. `service` is the id of the process that serves the
    /// requests. The CPU time of this process is measured as well.
    pub(crate) async fn run(
        &mut self,
        mut load: LoadSpec,
        service: u32,
        series: Series,
        round: u32,
    ) -> Result<Sample> {
        // The service comes after the server, as `Sample::from_load` expects.
        load.watch.insert(1, service);
        let outcome = self.generator.run(&load).await?;
        Ok(Sample::from_load(series, round, &outcome))
    }

    /// Returns an unused path for a process's log. The file name begins with `name`.
    pub(crate) fn log(&self, name: &str) -> PathBuf {
        let number = self.log_count.fetch_add(1, Ordering::Relaxed);
        self.dir().join(format!("{name}-{number}.log"))
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }
}

/// Returns the folder of the build. This folder is on a real disk, whereas /tmp may be in memory.
fn find_disk() -> Result<PathBuf> {
    let controller = program_path("scuttle-controller");
    if !controller.is_file() {
        bail!(
            "{} does not exist: run `cargo xtask bench`, which builds it",
            controller.display()
        );
    }
    let dir = controller.parent().and_then(Path::parent);
    Ok(dir.context("the controller's folder")?.to_owned())
}
