//! Two controllers with separate records on one bus: the second refuses to serve, and both show the
//! conflict.

use std::path::Path;

use anyhow::{Context, Result};
use futures_util::StreamExt;
use scuttle_schemas::subjects::{CONTROLLER_PING, METADATA_RECORD};
use scuttle_tests::programs::process::Process;
use scuttle_tests::{Client, Controller, Http, Nats, Role, TestResult, wait_until};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::cli::cli_runner::Cli;

/// A controller with an HTTP endpoint.
struct HttpController {
    process: Process,
    http: Http,
}

impl HttpController {
    /// Starts a controller with these arguments and the data directory `dir`.
    async fn start(nats: &Nats, dir: &Path, arguments: &[&str]) -> Result<Self> {
        let mut command = Controller::command();
        command
            .args(["--nats-url", &nats.url(), "--http", "127.0.0.1:0"])
            .args(arguments)
            .arg("--data-dir")
            .arg(dir)
            .envs(nats.environment(Role::Controller));
        let log = dir.with_extension("log");
        let mut process = Process::spawn("the controller", command, &log)?;
        let line = process.wait_for_line(" at http://").await?;
        let http = Http::from_log(&line).context("no address in the line")?;
        Ok(Self { process, http })
    }

    async fn wait_until_leading(&self) -> TestResult {
        let leading = ["200 OK", "ready: leading"];
        self.http.wait_for_texts("/readyz", &leading).await
    }

    /// Waits until the controller reports that it has refused to serve because of the record.
    async fn wait_until_refused(&self, record: &str) -> TestResult {
        let refused = ["503 Service Unavailable", "refused to serve", record];
        self.http.wait_for_texts("/readyz", &refused).await
    }

    /// Waits until the metric for conflicts has this value.
    async fn wait_for_conflict(&self, value: u8) -> TestResult {
        let sample = format!("scuttle_record_conflict {value}\n");
        self.http.wait_for_texts("/metrics", &[&sample]).await
    }
}

/// Returns the identity of the record of the controller that answers first.
async fn read_record(client: &Client) -> Result<String> {
    let reply = client
        .request_raw("$SRV.INFO.scuttle", async_nats::HeaderMap::new(), "")
        .await?;
    let info: Value = serde_json::from_slice(&reply.payload)?;
    let record = info["metadata"][METADATA_RECORD].as_str();
    Ok(record.context(info.to_string())?.to_owned())
}

#[tokio::test]
async fn a_controller_with_another_record_refuses_to_serve_and_both_show_the_conflict() -> TestResult
{
    let nats = Nats::start().await?;
    let dir = tempfile::tempdir()?;
    let paths = ["first", "second", "third"].map(|name| dir.path().join(name));
    let mut first = HttpController::start(&nats, &paths[0], &[]).await?;
    first.wait_until_leading().await?;
    let operator = Client::connect(&nats, Role::Operator).await?;
    operator.enroll("worker-a").await?;
    let record = read_record(&operator).await?;
    // An empty record, in a file and on the server.
    let mut second = HttpController::start(&nats, &paths[1], &[]).await?;
    let shared = ["--store", "jetstream", "--replicas", "1"];
    let third = HttpController::start(&nats, &paths[2], &shared).await?;
    for refused in [&second, &third] {
        refused.wait_until_refused(&record).await?;
        refused.wait_for_conflict(1).await?;
    }
    let line = second.process.wait_for_line("refused to serve").await?;
    assert!(line.contains("restart this one"), "{line}");
    first.wait_for_conflict(1).await?;
    let conflict = [
        "200 OK",
        "leading; a conflicting controller",
        "refused to serve",
    ];
    first.http.wait_for_texts("/readyz", &conflict).await?;
    let line = first
        .process
        .wait_for_line("a conflicting controller")
        .await?;
    assert!(line.contains("ERROR") && line.contains(&record), "{line}");
    for _ in 0..20 {
        assert_eq!(operator.list_hosts().await?.len(), 1);
    }
    let mut login = Vec::from(nats.environment(Role::Operator));
    login.push(("SCUTTLE_NATS_URL", nats.url()));
    let cli = Cli::in_directory(dir.path().join("home"), login)?;
    let doctor = cli.run(&["doctor"]).await?;
    assert_eq!(doctor.code, 1, "{doctor:?}");
    for text in ["separate records", &record, "(refused)"] {
        assert!(doctor.stdout.contains(text), "{doctor:?}");
    }

    // A refused controller does not take over when the other one is restarted.
    first.process.kill().await?;
    let reply = operator.list_hosts().await;
    assert!(reply.is_err(), "{reply:?}");
    drop(third);
    second.wait_until_refused(&record).await?;
    let first = HttpController::start(&nats, &paths[0], &[]).await?;
    first.wait_for_conflict(1).await?;
    assert_eq!(operator.list_hosts().await?.len(), 1);
    drop(second);
    first.wait_for_conflict(0).await?;
    assert_eq!(read_record(&operator).await?, record);
    Ok(())
}

#[tokio::test]
async fn of_two_controllers_that_start_at_once_exactly_one_serves() -> TestResult {
    let mut nats = Nats::start_stopped().await?;
    let dir = tempfile::tempdir()?;
    let [one, two] = ["one", "two"].map(|name| dir.path().join(name));
    let controllers = [
        HttpController::start(&nats, &one, &[]).await?,
        HttpController::start(&nats, &two, &[]).await?,
    ];
    nats.restart().await?;
    let states = || async {
        let mut states = Vec::new();
        for controller in &controllers {
            states.push(controller.http.send("GET /readyz").await?);
        }
        anyhow::Ok(states)
    };
    let count = |states: &[String], text| states.iter().filter(|one| one.contains(text)).count();
    wait_until("one serves, and the other refuses", states, |states| {
        count(states, "ready: leading") == 1 && count(states, "refused to serve") == 1
    })
    .await?;
    Ok(())
}

/// Answers of a client with the controller's permissions. Other users can neither receive the
/// question nor answer it.
#[tokio::test]
async fn false_answers_do_not_stop_a_controller_that_serves() -> TestResult {
    let nats = Nats::start().await?;
    let dir = tempfile::tempdir()?;
    let options = nats.connect_options(Role::Controller);
    let options = options.custom_inbox_prefix("_CONTROLLER.false");
    let hostile = options.connect(nats.url()).await?;
    let mut questions = hostile.subscribe(CONTROLLER_PING).await?;
    hostile.flush().await?;
    let (claims, claimed) = tokio::sync::watch::channel(false);
    let answering = tokio::spawn(async move {
        while let Some(question) = questions.next().await {
            let Some(inbox) = question.reply else {
                continue;
            };
            let id = Uuid::now_v7();
            let other = json!({
                "name": "scuttle", "id": id, "version": "9", "type": "io.nats.micro.v1.ping_response",
                "metadata": { METADATA_RECORD: Uuid::from_u128(9), "scuttle.store": "redb" },
            });
            let answer = if *claimed.borrow() {
                other
            } else {
                json!({ "id": [[]], "name": 7 })
            };
            hostile.publish(inbox, answer.to_string().into()).await?;
        }
        anyhow::Ok(())
    });
    // Junk does not keep a controller from serving.
    let controller = HttpController::start(&nats, &dir.path().join("data"), &[]).await?;
    controller.wait_until_leading().await?;
    claims.send_replace(true);
    controller.wait_for_conflict(1).await?;
    let operator = Client::connect(&nats, Role::Operator).await?;
    operator.enroll("worker-a").await?;
    controller.wait_until_leading().await?;
    answering.abort();
    Ok(())
}
