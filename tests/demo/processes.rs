//! The processes of the demo: a nats-server, a controller and the simulated hosts. They are started
//! in this order and stopped in the reverse order.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use scuttle_tests::programs::process::Process;
use scuttle_tests::programs::program_path;
use scuttle_tests::{Client, Controller, Nats, Role, Simulator};
use tempfile::TempDir;

use crate::arguments::Args;
use crate::terminal::{self, Sign, Terminal, format_count};

/// The options that determine how the simulated hosts behave: teardowns take some time, some of
/// them fail, and some agents crash.
const SIMULATOR_OPTIONS: [&str; 10] = [
    "--enroll",
    "--teardown-ms",
    "300..2500",
    "--heartbeat-ms",
    "1000",
    "--fail-rate",
    "0.15",
    "--crash-rate",
    "0.08",
    "--duplicate-rate=0.05",
];

/// All running processes, and the clients that are connected to them. Dropping this struct kills
/// the processes.
pub(crate) struct Processes {
    pub(crate) operator: Client,
    pub(crate) viewer: Client,
    pub(crate) controller: Controller,
    pub(crate) simulator: Simulator,
    pub(crate) nats: Nats,
    dir: TempDir,
}

impl Processes {
    /// Starts all processes, and prints one line about each.
    pub(crate) async fn start(args: &Args, terminal: &Terminal) -> Result<Self> {
        terminal::print(&format!(
            "Scuttle: {} simulated hosts with {} each, seed {}. Press Ctrl-C to stop everything.\n",
            args.hosts,
            format_count(args.deckies_per_host as usize, "decky", "deckies"),
            args.seed
        ))?;
        let dir = tempfile::Builder::new()
            .prefix("demo-")
            .tempdir_in(find_target_dir()?)?;
        let nats = Nats::start().await.context("start nats-server")?;
        let operator = Client::connect(&nats, Role::Operator).await?;
        let viewer = Client::connect(&nats, Role::Viewer).await?;
        let version = operator.nats().server_info().version;
        let text = format!("{}, nats.conf, new random passwords", nats.url());
        terminal.line(Sign::Success, &format!("nats-server {version}"), &text)?;

        let data = dir.path().join("controller");
        let mut environment = nats.environment(Role::Controller).to_vec();
        // The controller keeps this address when it is killed and restarted.
        let http = find_free_address()?;
        environment.push(("SCUTTLE_HTTP", http.to_string()));
        environment.extend(
            nats.websocket_url()
                .map(|url| ("SCUTTLE_WEB_NATS_URL", url)),
        );
        let mut controller =
            Controller::start(&nats.url(), environment, &data).context("start the controller")?;
        controller.process().quiet = true;
        operator
            .wait_until_ready()
            .await
            .with_context(|| controller.process().log())?;
        let id = controller.process().id().unwrap_or_default();
        let text = format!("process {id}, data in {}", shorten_path(&data).display());
        terminal.line(
            Sign::Success,
            concat!("controller ", env!("CARGO_PKG_VERSION")),
            &text,
        )?;

        let address = format!(" at http://{http}/");
        let line = controller.process().wait_for_line(&address).await?;
        let page = line.contains("serving the page at").then_some(http);
        print_page(page, &nats, terminal)?;

        let numbers = [
            args.hosts.to_string(),
            args.deckies_per_host.to_string(),
            args.seed.to_string(),
        ];
        let [hosts, deckies, seed] = &numbers;
        let sizes = [
            "--hosts",
            hosts,
            "--deckies-per-host",
            deckies,
            "--seed",
            seed,
        ];
        let options = [&SIMULATOR_OPTIONS[..], &sizes[..]].concat();
        let hosts_dir = dir.path().join("hosts");
        let mut command = Simulator::command(&nats.url(), nats.passwords(), &hosts_dir);
        command.args(&options);
        let mut simulator = Simulator::start(command, &hosts_dir).await?;
        simulator.process().quiet = true;
        Ok(Self {
            operator,
            viewer,
            controller,
            simulator,
            nats,
            dir,
        })
    }

    /// Keeps the directory with the data and the logs, and prints its path.
    pub(crate) fn keep_files(&mut self) {
        self.dir.disable_cleanup(true);
        let kept = self.dir.path().display();
        terminal::print_error(&format!("data and logs are kept in {kept}"));
    }

    /// Checks that the controller and the simulator have not exited by themselves.
    ///
    /// # Errors
    /// If one of them has exited. The error contains its log.
    pub(crate) fn ensure_running(&mut self) -> Result<()> {
        self.controller.process().ensure_running()?;
        self.simulator.process().ensure_running()
    }

    /// Stops the processes in the reverse order of their start, and waits until each has exited.
    ///
    /// # Errors
    /// If a process cannot be stopped or exits with an error.
    pub(crate) async fn stop(mut self) -> Result<()> {
        let hosts = stop(self.simulator.process())
            .await
            .context("stop the simulated hosts");
        let controller = stop(self.controller.process())
            .await
            .context("stop the controller");
        let nats = self.nats.stop().await.context("stop nats-server");
        hosts.and(controller).and(nats)
    }
}

/// Prints the address of the web page and the credentials to sign in, or why there is no page.
fn print_page(page: Option<SocketAddr>, nats: &Nats, terminal: &Terminal) -> Result<()> {
    let Some(address) = page else {
        let why = "not built: building it needs Node 20 (see above)";
        return terminal.line(Sign::Failure, "page", why);
    };
    let role = Role::Operator;
    let text = format!(
        "http://{address}/  sign in as {role}, password {}",
        nats.password(role)
    );
    terminal.line(Sign::Success, "page", &text)
}

/// Returns an address for the web page: port 8420 if it is free, otherwise any free port.
fn find_free_address() -> Result<SocketAddr> {
    let local = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    let listener = local(8420)
        .or_else(|_| local(0))
        .context("find a free port")?;
    Ok(listener.local_addr()?)
}

async fn stop(process: &mut Process) -> Result<()> {
    if process.ensure_running().is_err() {
        return Ok(());
    }
    process.send_signal("TERM").await?;
    let status = process.wait_for_exit().await?;
    if !status.success() {
        bail!("{status}\n{}", process.log());
    }
    Ok(())
}

/// Returns the build's target directory. It is on a real disk, while `/tmp` may be in memory.
fn find_target_dir() -> Result<PathBuf> {
    let controller = program_path("scuttle-controller");
    if !controller.is_file() {
        bail!(
            "{} does not exist: run `cargo xtask demo`, which builds it",
            controller.display()
        );
    }
    let dir = controller
        .parent()
        .and_then(Path::parent)
        .context("find the controller's directory")?;
    dir.canonicalize()
        .with_context(|| format!("find {}", dir.display()))
}

/// Shortens a path that is below the current directory to a relative path. Returns other paths
/// unchanged.
fn shorten_path(path: &Path) -> &Path {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(here).unwrap_or(path)
}
