//! A controller with the credentials of another role is not ready, and names the role.

use anyhow::Context;
use scuttle_tests::programs::process::Process;
use scuttle_tests::{Client, Controller, Http, Nats, Role, TestResult};

#[tokio::test]
async fn a_controller_with_the_credentials_of_another_role_names_the_role_and_is_not_ready()
-> TestResult {
    let nats = Nats::start().await?;
    let operator = Client::connect(&nats, Role::Operator).await?;
    for store in ["redb", "jetstream"] {
        for (role, text) in [
            (
                Role::Operator,
                "operator has the permissions of an operator",
            ),
            (Role::Viewer, "viewer has the permissions of a viewer"),
            (Role::Agents, "agents has the permissions of an agent"),
        ] {
            let dir = tempfile::tempdir()?;
            let mut command = Controller::command();
            command
                .args(["--nats-url", &nats.url(), "--http", "127.0.0.1:0"])
                .args(["--store", store, "--data-dir"])
                .arg(dir.path().join("data"))
                .envs(nats.environment(role));
            let log = dir.path().join("log");
            let mut controller = Process::spawn("the controller", command, &log)?;
            let line = controller.wait_for_line(" at http://").await?;
            let http = Http::from_log(&line).context("no address in the line")?;
            let line = controller.wait_for_line("not ready").await?;
            assert!(line.contains("ERROR") && line.contains(text), "{line}");
            assert!(line.contains("--creds"), "{line}");
            let not_ready = ["503 Service Unavailable", text];
            http.wait_for_texts("/readyz", &not_ready).await?;
            let log = controller.log();
            assert!(!log.to_lowercase().contains("violation"), "{log}");
            assert!(
                !log.contains("leading") && !log.contains("INFO ready"),
                "{log}"
            );
            assert!(operator.list_hosts().await.is_err());
            controller.send_signal("TERM").await?;
            assert!(controller.wait_for_exit().await?.success());
        }
    }
    Ok(())
}
