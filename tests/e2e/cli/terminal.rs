//! The command on a terminal, which the system's `script` makes: what is asked before a whole host goes, and the screen of
//! `watch`.

use std::fs::File;
use std::process::{ExitStatus, Stdio};

use anyhow::{Context, Result};
use scuttle_tests::programs::program;
use scuttle_tests::wait::within;
use scuttle_tests::{Role, Swarm, TestResult, until};
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

use super::stage::Cli;

/// What takes a screen away again.
const SCREEN_ENDS: &str = "\u{1b}[?1049l";

/// The command, and whoever types.
struct Terminal {
    child: Child,
    cli: Cli,
}

impl Terminal {
    fn start(swarm: &Swarm, words: &str) -> Result<Self> {
        let cli = Cli::of(swarm, Role::Operator)?;
        let line = format!(
            "stty rows 30 cols 100; exec {} {words}",
            program("scuttle").display()
        );
        let shown = File::create(cli.home.join("shown"))?;
        let mut command: Command = cli.on(Command::new("script"));
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

    /// Waits until this is shown.
    async fn shows(&self, text: &str) -> TestResult {
        let shown = || async { std::fs::read_to_string(self.cli.home.join("shown")) };
        until(text, shown, |shown| shown.contains(text)).await?;
        Ok(())
    }

    async fn types(&mut self, keys: &str) -> TestResult {
        let stdin = self.child.stdin.as_mut().context("a keyboard")?;
        Ok(stdin.write_all(keys.as_bytes()).await?)
    }

    async fn ends(&mut self) -> Result<ExitStatus> {
        Ok(within("scuttle ends", self.child.wait()).await??)
    }
}

#[tokio::test]
async fn before_a_whole_host_goes_it_is_asked() -> TestResult {
    let swarm = Swarm::start().await?;
    swarm.agent("worker-a", &["decky-01", "decky-02"]).await?;
    for (answer, code, operations) in [("n\n", 4, 0), ("y\n", 0, 1)] {
        let mut terminal = Terminal::start(&swarm, "teardown worker-a")?;
        terminal.shows("2 deckies would be torn down").await?;
        terminal
            .shows("Are you sure you want to tear down all of worker-a? [y/N]")
            .await?;
        terminal.types(answer).await?;
        assert_eq!(terminal.ends().await?.code(), Some(code), "{answer:?}");
        assert_eq!(swarm.operator.operations().await?.len(), operations);
    }
    Ok(())
}

#[tokio::test]
async fn the_screen_arms_at_the_first_key_and_acts_at_the_second() -> TestResult {
    let swarm = Swarm::start().await?;
    let agent = swarm.agent("worker-a", &["decky-01"]).await?;
    let mut terminal = Terminal::start(&swarm, "watch")?;
    terminal.shows("worker-a").await?;
    terminal.types("t").await?;
    // What would go with it: the words of a screen are drawn one by one.
    terminal.shows("would").await?;
    assert_eq!(swarm.operator.operations().await?, []);
    terminal.types("t").await?;
    let asked = |states: &String| states == "decky-01 tearing_down";
    until("it goes", || swarm.operator.states(&agent.host), asked).await?;
    terminal.types("q").await?;
    assert!(terminal.ends().await?.success());
    terminal.shows(SCREEN_ENDS).await
}
