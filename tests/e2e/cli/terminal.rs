//! The `scuttle` command in a terminal, which the program `script` provides: the confirmation
//! before a teardown of a whole host, and the screen of `scuttle watch`.

use std::fs::File;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use scuttle_tests::programs::program_path;
use scuttle_tests::wait::with_timeout;
use scuttle_tests::{Cluster, Role, TestResult, wait_until};
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::cli_runner::Cli;

/// The time after which a key is pressed again that has not been answered.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// The escape sequence with which `scuttle watch` leaves the full screen.
const SCREEN_ENDS: &str = "\u{1b}[?1049l";

/// A `scuttle` command that runs in a simulated terminal.
struct Terminal {
    child: Child,
    cli: Cli,
}

impl Terminal {
    fn start(cluster: &Cluster, arguments: &str) -> Result<Self> {
        Self::start_as(cluster, Role::Operator, arguments)
    }

    fn start_as(cluster: &Cluster, role: Role, arguments: &str) -> Result<Self> {
        let cli = Cli::with_role(cluster, role)?;
        let line = format!(
            "stty rows 30 cols 100; exec {} {arguments}",
            program_path("scuttle").display()
        );
        let shown = File::create(cli.home.join("shown"))?;
        let mut command: Command = cli.prepare(Command::new("script"));
        command
            .args(["--quiet", "--return", "--command", &line, "/dev/null"])
            .env("TERM", "xterm-256color")
            .env("SHELL", "/bin/sh")
            .stdin(Stdio::piped())
            .stdout(shown)
            .kill_on_drop(true);
        let child = command.spawn().context("start script, of util-linux")?;
        Ok(Self { child, cli })
    }

    /// Waits until the output in the terminal contains this text.
    async fn wait_for(&self, text: &str) -> TestResult {
        let shown = || async { std::fs::read_to_string(self.cli.home.join("shown")) };
        wait_until(text, shown, |shown| shown.contains(text)).await?;
        Ok(())
    }

    async fn type_keys(&mut self, keys: &str) -> TestResult {
        let stdin = self.child.stdin.as_mut().context("a keyboard")?;
        Ok(stdin.write_all(keys.as_bytes()).await?)
    }

    async fn wait_for_exit(&mut self) -> Result<ExitStatus> {
        Ok(with_timeout("scuttle ends", self.child.wait()).await??)
    }
}

#[tokio::test]
async fn a_teardown_of_a_whole_host_asks_for_confirmation() -> TestResult {
    let cluster = Cluster::start().await?;
    let agent = cluster
        .start_agent("worker-a", &["decky-01", "decky-02"])
        .await?;
    let question = format!(
        "Are you sure you want to tear down all of worker-a ({}) in the swarm at nats://",
        agent.host
    );
    for (answer, code, operations) in [("n\n", 4, 0), ("y\n", 0, 1)] {
        let mut terminal = Terminal::start(&cluster, "teardown worker-a")?;
        terminal.wait_for("2 deckies would be torn down").await?;
        terminal.wait_for(&question).await?;
        terminal.type_keys(answer).await?;
        assert_eq!(
            terminal.wait_for_exit().await?.code(),
            Some(code),
            "{answer:?}"
        );
        assert_eq!(cluster.operator.list_operations().await?.len(), operations);
    }
    Ok(())
}

#[tokio::test]
async fn a_decommission_asks_for_confirmation_and_names_what_is_forgotten() -> TestResult {
    let cluster = Cluster::start().await?;
    let agent = cluster
        .start_agent("worker-a", &["decky-01", "decky-02"])
        .await?;
    for (answer, code, remaining) in [("n\n", 4, 2), ("y\n", 0, 0)] {
        let mut terminal = Terminal::start(&cluster, "decommission worker-a --force")?;
        terminal
            .wait_for("would forget 2 deckies (decky-01, decky-02). They are not torn down")
            .await?;
        terminal
            .wait_for("Are you sure you want to decommission worker-a")
            .await?;
        terminal.type_keys(answer).await?;
        assert_eq!(
            terminal.wait_for_exit().await?.code(),
            Some(code),
            "{answer:?}"
        );
        let states = cluster.operator.shard_states(&agent.host).await?;
        assert_eq!(states.matches("decky-").count(), remaining, "{states}");
    }
    Ok(())
}

#[tokio::test]
async fn the_screen_proposes_at_one_key_and_acts_at_another() -> TestResult {
    let cluster = Cluster::start().await?;
    let agent = cluster.start_agent("worker-a", &["decky-01"]).await?;
    let mut terminal = Terminal::start(&cluster, "watch")?;
    terminal.wait_for("worker-a").await?;
    terminal.type_keys("t").await?;
    // The plan is shown. The screen draws single words, so only one word can be matched.
    terminal.wait_for("would").await?;
    // A key that is held down confirms nothing.
    terminal.type_keys("tttttttttttt").await?;
    assert_eq!(cluster.operator.list_operations().await?, []);
    terminal.type_keys("y").await?;
    let tearing_down = |states: &String| states == "decky-01 tearing_down";
    wait_until(
        "the teardown is accepted",
        || cluster.operator.shard_states(&agent.host),
        tearing_down,
    )
    .await?;
    terminal.type_keys("q").await?;
    assert!(terminal.wait_for_exit().await?.success());
    terminal.wait_for(SCREEN_ENDS).await
}

#[tokio::test]
async fn the_screen_says_that_a_viewer_may_not_tear_down() -> TestResult {
    let cluster = Cluster::start().await?;
    cluster.start_agent("worker-a", &["decky-01"]).await?;
    let mut terminal = Terminal::start_as(&cluster, Role::Viewer, "watch")?;
    terminal.wait_for("worker-a").await?;
    terminal.type_keys("\t").await?;
    terminal.wait_for("decky-01").await?;
    // The role is known soon after the start. Until then, the key asks for a confirmation.
    let is_answered = async {
        while timeout(POLL_INTERVAL, terminal.wait_for("cannot"))
            .await
            .is_err()
        {
            terminal.type_keys("t").await?;
        }
        anyhow::Ok(())
    };
    with_timeout("the key is answered", is_answered).await??;
    terminal.type_keys("q").await?;
    assert!(terminal.wait_for_exit().await?.success());
    Ok(())
}
