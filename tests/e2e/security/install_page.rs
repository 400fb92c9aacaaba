//! The steps of docs/install.md with a private certificate authority, as the page has them: each
//! command is read from the page. Only the places differ: `/etc` is in a temporary directory, the
//! server's name is `localhost`, and no unit is installed.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail, ensure};
use scuttle_schemas::hosts::HostsList;
use scuttle_tests::programs::process::Process;
use scuttle_tests::programs::{program_command, program_path, workspace};
use scuttle_tests::servers::nats_server::{NatsServer, ServerSetup, find_free_ports};
use scuttle_tests::wait::with_timeout;
use scuttle_tests::{TestResult, wait_until};
use tempfile::TempDir;
use tokio::process::Command;

/// Commands of the page that concern units and programs in `/usr/local/bin`, or that do not end.
const OTHER_COMMANDS: [&str; 5] = [
    "systemctl",
    "journalctl",
    "nats-server",
    "install -m 0755 target",
    "install -m 0644 packaging",
];

/// The machines of the page, as one directory.
struct Machines {
    dir: TempDir,
    port: u16,
}

impl Machines {
    fn new() -> Result<Self> {
        let [port] = find_free_ports()?;
        let dir = tempfile::tempdir()?;
        std::fs::create_dir(dir.path().join("etc"))?;
        Ok(Self { dir, port })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Returns the commands of each code block of one section of the page, with the places of this
    /// test.
    fn read_blocks(&self, section: &str) -> Result<Vec<String>> {
        let page = std::fs::read_to_string(workspace().join("docs/install.md"))?;
        let heading = format!("\n## {section}\n");
        let (_, section) = page
            .split_once(&heading)
            .context("the page has the section")?;
        let (section, _) = section.split_once("\n## ").context("a section follows")?;
        let etc = format!("{}/etc/", self.dir.path().display());
        let blocks = section.split("\n```").skip(1).step_by(2).map(|block| {
            let commands = block.lines().filter(|line| {
                let mut others = OTHER_COMMANDS.iter();
                !others.any(|other| line.starts_with(other))
            });
            let commands = commands.collect::<Vec<_>>().join("\n");
            commands
                .replace("/etc/", &etc)
                .replace("nats.example:4222", &format!("localhost:{}", self.port))
                .replace("nats.example", "localhost")
                .replace("--host 0.0.0.0", "--host 127.0.0.1")
        });
        Ok(blocks.collect())
    }

    /// Runs commands with the shell, and returns their standard output.
    async fn run(&self, commands: &str) -> Result<String> {
        let programs = program_path("scuttle");
        let programs = programs.parent().context("a directory")?.display();
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new("sh");
        command
            .args(["-eu", "-c", commands])
            .current_dir(self.dir.path())
            .env("HOME", self.dir.path())
            .env("SCUTTLE_BUS_DIR", "bus")
            .env("PATH", format!("{programs}:{path}"))
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let output = with_timeout("the commands end", command.output()).await??;
        ensure!(output.status.success(), "{commands}\n{output:?}");
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Starts a program as its unit does: with the variables in a file and with credentials.
    fn start(&self, program: &'static str, name: &str) -> Result<Process> {
        let etc = self.path("etc/scuttle");
        let mut command = program_command(program);
        let variables = std::fs::read_to_string(etc.join(format!("{name}.env")))?;
        command
            .envs(variables.lines().filter_map(|line| line.split_once('=')))
            .env("SCUTTLE_NATS_CREDS", etc.join(format!("{name}.creds")))
            .env("SCUTTLE_DATA_DIR", self.path(name))
            .env("SCUTTLE_DOCKER", "unix:///nowhere/docker.sock");
        Process::spawn(program, command, &self.path(name).with_extension("log"))
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::copy(from, to).with_context(|| format!("copy {}", from.display()))?;
    Ok(())
}

#[tokio::test]
async fn the_steps_of_the_install_page_work_with_a_private_authority() -> TestResult {
    let machines = Machines::new()?;
    let server = machines.read_blocks("The NATS server")?.join("\n");
    ensure!(server.contains("openssl") && server.contains("scuttle init"));
    machines.run(&server).await?;
    let setup = ServerSetup {
        configuration: machines.path("bus/server/nats-server.conf"),
        dir: machines.dir.path().to_owned(),
        store: None,
        environment: Vec::new(),
    };
    let _server = NatsServer::start(&setup, Some(machines.port)).await?;

    let credentials = machines.path("bus/creds/controller.creds");
    copy(&credentials, &machines.path("controller.creds"))?;
    let controller = machines.read_blocks("The controller")?;
    machines.run(&controller.join("\n")).await?;
    let mut controller = machines.start("scuttle-controller", "controller")?;
    controller.wait_for_line("ready").await?;

    let agent = machines.read_blocks("An agent")?;
    let [enroll, install] = &agent[..] else {
        bail!("other blocks: {agent:?}");
    };
    machines.run(enroll).await?;
    let hosts = machines.run("scuttle hosts -o json").await?;
    let hosts: HostsList = serde_json::from_str(&hosts)?;
    let id = hosts.hosts[0].host_uuid.as_str();
    machines.run(&install.replace("0197f3a2-…", id)).await?;
    let _agent = machines.start("scuttle-agent", "agent")?;
    let hosts = || machines.run("scuttle hosts");
    let is_online = |hosts: &String| hosts.contains("online");
    wait_until("the host is online", hosts, is_online).await?;

    let colleague = "scuttle user add alice --role viewer --dir bus";
    machines.run(colleague).await?;
    let url = format!("tls://localhost:{}", machines.port);
    let list = format!("scuttle hosts --creds alice.creds --nats-url {url} --tls-ca ca.pem");
    assert!(machines.run(&list).await?.contains("worker-a"));
    Ok(())
}
