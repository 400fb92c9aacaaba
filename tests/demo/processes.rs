//! The processes of the demo: a nats-server, a controller, the simulated hosts. Started in this order, stopped in the
//! opposite one.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use scuttle_tests::programs::process::Process;
use scuttle_tests::programs::program_path;
use scuttle_tests::{Client, Controller, Nats, Role, Simulator};
use tempfile::TempDir;

use crate::Args;
use crate::terminal::{self, Sign, Terminal, count};

/// What the simulated hosts are ordered to do: most teardowns take a while, some fail, an agent crashes now and then.
const ORDERS: [&str; 10] = [
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

/// Everything that runs. Dropping it kills it.
pub(crate) struct Processes {
    pub(crate) operator: Client,
    pub(crate) viewer: Client,
    pub(crate) controller: Controller,
    pub(crate) sim: Simulator,
    pub(crate) nats: Nats,
    dir: TempDir,
}

impl Processes {
    /// Starts everything, and says so.
    pub(crate) async fn start(args: &Args, terminal: &Terminal) -> Result<Self> {
        terminal::print(&format!(
            "Scuttle: {} simulated hosts with {} each, seed {}. Ctrl-C stops everything.\n",
            args.hosts,
            count(args.deckies_per_host as usize, "decky", "deckies"),
            args.seed
        ))?;
        let dir = tempfile::Builder::new()
            .prefix("demo-")
            .tempdir_in(on_disk()?)?;
        let nats = Nats::start().await.context("start nats-server")?;
        let operator = Client::connect(&nats, Role::Operator).await?;
        let viewer = Client::connect(&nats, Role::Viewer).await?;
        let version = operator.nats().server_info().version;
        let text = format!("{}, nats.conf, fresh random passwords", nats.url());
        terminal.line(Sign::Good, &format!("nats-server {version}"), &text)?;

        let data = dir.path().join("controller");
        let mut environment = nats.environment(Role::Controller).to_vec();
        // The same after it is killed and started again.
        let http = free_address()?;
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
        let text = format!("process {id}, data in {}", short(&data).display());
        terminal.line(
            Sign::Good,
            concat!("controller ", env!("CARGO_PKG_VERSION")),
            &text,
        )?;

        let address = format!(" at http://{http}/");
        let told = controller.process().wait_for_line(&address).await?;
        let page = told.contains("the page is at").then_some(http);
        tell_page(page, &nats, terminal)?;

        let numbers = [
            args.hosts.to_string(),
            args.deckies_per_host.to_string(),
            args.seed.to_string(),
        ];
        let [hosts, deckies, seed] = &numbers;
        let own = [
            "--hosts",
            hosts,
            "--deckies-per-host",
            deckies,
            "--seed",
            seed,
        ];
        let orders = [&ORDERS[..], &own[..]].concat();
        let hosts_dir = dir.path().join("hosts");
        let mut command = Simulator::command(&nats.url(), nats.passwords(), &hosts_dir);
        command.args(&orders);
        let mut sim = Simulator::start(command, &hosts_dir).await?;
        sim.process().quiet = true;
        Ok(Self {
            operator,
            viewer,
            controller,
            sim,
            nats,
            dir,
        })
    }

    /// Keeps data and logs for whoever looks into a failure, and says where.
    pub(crate) fn keep_files(&mut self) {
        self.dir.disable_cleanup(true);
        let kept = self.dir.path().display();
        terminal::complain(&format!("the data and the logs are kept in {kept}"));
    }

    /// An error that names what has ended by itself, if anything has.
    pub(crate) fn alive(&mut self) -> Result<()> {
        self.controller.process().ensure_running()?;
        self.sim.process().ensure_running()
    }

    /// Stops everything in order, and waits for the end of each.
    pub(crate) async fn stop(mut self) -> Result<()> {
        let hosts = end(self.sim.process())
            .await
            .context("stop the simulated hosts");
        let controller = end(self.controller.process())
            .await
            .context("stop the controller");
        let nats = self.nats.stop().await.context("stop nats-server");
        hosts.and(controller).and(nats)
    }
}

/// The page's address, for whoever has a browser.
fn tell_page(page: Option<SocketAddr>, nats: &Nats, terminal: &Terminal) -> Result<()> {
    let Some(address) = page else {
        let why = "not built: it needs Node 20 (see above)";
        return terminal.line(Sign::Bad, "page", why);
    };
    let role = Role::Operator;
    let text = format!(
        "http://{address}/  sign in as {role}, password {}",
        nats.password(role)
    );
    terminal.line(Sign::Good, "page", &text)
}

/// Where the page is served: at its usual address, if nobody else has that.
fn free_address() -> Result<SocketAddr> {
    let local = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    let listener = local(8420)
        .or_else(|_| local(0))
        .context("find a free port")?;
    Ok(listener.local_addr()?)
}

async fn end(process: &mut Process) -> Result<()> {
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

/// The build's own folder: a real disk, where /tmp may be memory.
fn on_disk() -> Result<PathBuf> {
    let controller = program_path("scuttle-controller");
    if !controller.is_file() {
        bail!(
            "no {}: run `cargo xtask demo`, which builds it",
            controller.display()
        );
    }
    let dir = controller
        .parent()
        .and_then(Path::parent)
        .context("the controller's folder")?;
    dir.canonicalize()
        .with_context(|| format!("find {}", dir.display()))
}

/// As seen from here, if it is below here.
fn short(path: &Path) -> &Path {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(here).unwrap_or(path)
}
