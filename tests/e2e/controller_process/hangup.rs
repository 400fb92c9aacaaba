//! SIGHUP: it reloads what can be reloaded, and never ends a program.

use scuttle_tests::programs::agent::AgentOptions;
use scuttle_tests::programs::process::Process;
use scuttle_tests::{Client, Cluster, Controller, Nats, Role, TestResult};

/// Writes `log` into a configuration file of the process, sends SIGHUP, and waits until the process
/// has logged that the filter has this value.
async fn reload(process: &mut Process, file: &std::path::Path, log: &str) -> TestResult {
    std::fs::write(file, format!("log = \"{log}\"\n"))?;
    process.send_signal("HUP").await?;
    let line = format!("SIGHUP: the log filter is {log}");
    process.wait_for_line(&line).await?;
    process.ensure_running()
}

#[tokio::test]
async fn sighup_reloads_the_log_filter_of_a_controller_without_an_audit_file() -> TestResult {
    let nats = Nats::start().await?;
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("scuttle.toml");
    std::fs::write(&file, "log = \"info\"\n")?;
    let mut command = Controller::command();
    command
        .args(["--nats-url", &nats.url(), "--config"])
        .arg(&file)
        .arg("--data-dir")
        .arg(dir.path().join("data"))
        .envs(nats.environment(Role::Controller));
    let mut controller = Process::spawn("the controller", command, &dir.path().join("log"))?;
    let operator = Client::connect(&nats, Role::Operator).await?;
    operator.wait_until_ready().await?;
    reload(&mut controller, &file, "debug,async_nats=error").await?;
    // An invalid file changes nothing.
    std::fs::write(&file, "log = \"a=b=c\"\n")?;
    controller.send_signal("HUP").await?;
    controller.wait_for_line("stays as it was").await?;
    operator.enroll("worker-a").await?;
    controller.send_signal("TERM").await?;
    assert!(controller.wait_for_exit().await?.success());
    Ok(())
}

#[tokio::test]
async fn sighup_reloads_the_log_filter_of_an_agent() -> TestResult {
    let nats = Nats::start().await?;
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("scuttle.toml");
    std::fs::write(&file, "log = \"info\"\n")?;
    let agent = AgentOptions {
        url: nats.url(),
        login: nats.environment(Role::Agents).into(),
        host: "worker-a".parse()?,
        docker: "unix:///nowhere/docker.sock".to_owned(),
        data_dir: dir.path().join("agent"),
        flags: vec!["--config".to_owned(), file.to_string_lossy().into_owned()],
        launcher: Vec::new(),
    };
    let mut agent = agent.start()?;
    agent.wait_for_line("ready").await?;
    reload(&mut agent, &file, "debug,async_nats=off").await
}

#[tokio::test]
async fn sighup_does_not_end_the_simulator() -> TestResult {
    let cluster = Cluster::start().await?;
    let log = ("SCUTTLE_LOG", "info");
    let mut simulator = cluster
        .start_simulator_with(&cluster.path("sim"), &["--hosts=1", "--enroll"], &[log])
        .await?;
    simulator.process().send_signal("HUP").await?;
    let line = "SIGHUP: the log filter is info";
    simulator.process().wait_for_line(line).await?;
    simulator.process().ensure_running()
}
