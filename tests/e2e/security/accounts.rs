//! `scuttle init`, `enroll`, `user`, `decommission` and `revoke` on a real server: hosts and users
//! are added and removed, and errors name their cause. The permissions of each role are in
//! `permissions.rs`, and TLS is in `tls.rs`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, ensure};
use async_nats::connection::State;
use futures_util::StreamExt;
use scuttle_schemas::{BootId, subjects};
use scuttle_tests::programs::scuttle::run_scuttle;
use scuttle_tests::servers::nats_server as server;
use scuttle_tests::wait::wait_until;
use scuttle_tests::{Client, ProvisionedServer, TestResult};
use serde_json::{Value, json};
use uuid::Uuid;

/// Waits until the server has closed this connection, and checks that the server no longer accepts
/// these credentials.
async fn expect_revoked(bus: &ProvisionedServer, client: &Client, creds: &Path) -> TestResult {
    let state = || async { Ok::<_, anyhow::Error>(client.nats().connection_state()) };
    wait_until("the connection is closed", state, |state| {
        *state != State::Connected
    })
    .await?;
    expect_not_accepted(bus, creds).await
}

async fn expect_not_accepted(bus: &ProvisionedServer, creds: &Path) -> TestResult {
    let rejection = bus.connect(creds).await.map(|_| ());
    let error = rejection
        .expect_err("the credentials are not accepted")
        .to_string();
    ensure!(error.to_lowercase().contains("authorization"), "{error}");
    Ok(())
}

/// The life of a host from `scuttle init` to the revocation of the host's credentials. None of
/// these steps needs a reload of the server.
#[tokio::test]
async fn a_host_is_enrolled_torn_down_and_revoked_while_the_server_runs() -> TestResult {
    let mut bus = ProvisionedServer::start().await?;
    let server = bus.server().process.id();
    let _controller = bus.start_controller().await?;
    let line = bus
        .run_scuttle(&[
            "enroll",
            "worker-a",
            "--host-uuid",
            "w-1",
            "--label",
            "rack=3",
        ])
        .await?
        .expect_success()?;
    let creds = bus.path("worker-a.creds");
    for text in [
        "scuttle-agent --nats-url ",
        "--host-uuid w-1",
        "/worker-a.creds",
    ] {
        assert!(line.contains(text), "no {text:?} in {line}");
    }
    let host = "w-1".parse()?;
    let mut agent = bus.start_agent(&creds, &host).await?;
    agent.report_inventory(&["decky-1"]).await?;

    let admin = bus.connect(&bus.credentials("admin")).await?;
    let accepted = admin.tear_down(&host, None).await?;
    agent.next_command().await?;
    agent
        .report_success(accepted.operation_id, &["decky-1"])
        .await?;
    let operation = admin.wait_for_end(accepted.operation_id).await?;
    assert_eq!(operation.requested_by, "admin");

    // The host is named by its name instead of its id.
    let out = bus
        .run_scuttle(&["decommission", "worker-a", "--yes"])
        .await?
        .expect_success()?;
    assert_eq!(out, "w-1");
    expect_revoked(&bus, agent.client(), &creds).await?;
    admin.wait_until_ready().await?;
    assert_eq!(bus.server().process.id(), server);
    let log = bus.server().process.log();
    assert!(!log.contains("Reload"), "{log}");

    // The revocation survives a restart of the server, and a new server with only the initial
    // configuration.
    bus.restart().await?;
    expect_not_accepted(&bus, &creds).await?;
    fs::remove_dir_all(bus.path("bus/server/resolver"))?;
    bus.restart().await?;
    expect_not_accepted(&bus, &creds).await?;
    bus.connect(&bus.credentials("admin")).await?;
    Ok(())
}

/// A `scuttle decommission` that failed halfway is repeated. A later repeat also revokes the
/// credentials of another host, which was decommissioned by a plain request.
#[tokio::test]
async fn a_revocation_that_did_not_reach_the_server_is_completed_by_a_repeat() -> TestResult {
    let bus = ProvisionedServer::start().await?;
    let _controller = bus.start_controller().await?;
    let (first, second) = (bus.enroll("worker-a").await?, bus.enroll("worker-b").await?);
    let a = bus.connect(&first).await?;
    let b = bus.connect(&second).await?;

    let (system, unreachable) = (bus.credentials("system"), bus.path("away"));
    fs::rename(&system, &unreachable)?;
    let result = bus
        .run_scuttle(&["decommission", "worker-a", "--yes"])
        .await?;
    result.expect_failure(1, &["system.creds", "SCUTTLE", "run the command again"])?;
    bus.connect(&first)
        .await
        .context("the server has not been notified yet")?;
    fs::rename(&unreachable, &system)?;
    bus.run_scuttle(&["decommission", "worker-a", "--yes"])
        .await?
        .expect_success()?;
    expect_revoked(&bus, &a, &first).await?;

    let admin = bus.connect(&bus.credentials("admin")).await?;
    let _: Value = admin
        .request(
            subjects::HOSTS_DECOMMISSION,
            &json!({ "host_uuid": "worker-b" }),
        )
        .await?;
    bus.connect(&second)
        .await
        .context("the server has not been notified yet")?;
    bus.run_scuttle(&["decommission", "worker-a", "--yes"])
        .await?
        .expect_success()?;
    expect_revoked(&bus, &b, &second).await?;
    Ok(())
}

/// Credentials are renewed only on request.
#[tokio::test]
async fn renewed_credentials_revoke_the_old_ones() -> TestResult {
    let bus = ProvisionedServer::start().await?;
    let _controller = bus.start_controller().await?;
    let old = bus.enroll("worker-a").await?;
    let held = bus.connect(&old).await?;
    // A report of a later boot makes those of the real agent stale.
    let host = "worker-a".parse()?;
    let mut thief = bus.start_agent(&old, &host).await?;
    let ahead = u64::try_from(thief.boot.started_at().as_millis())? / 1000 + 1800;
    thief.boot = BootId(Uuid::new_v7(uuid::Timestamp::from_unix_time(
        ahead, 0, 0, 0,
    )));
    thief.send_heartbeat().await?;
    let again = bus.run_scuttle(&["enroll", "worker-a"]).await?;
    again.expect_failure(4, &["worker-a.creds exists", "--renew --out FILE"])?;
    let again = ["enroll", "worker-a", "--out", "new.creds"];
    bus.run_scuttle(&again)
        .await?
        .expect_failure(4, &["--renew"])?;
    // A misspelt name does not become a new host.
    let misspelt = ["enroll", "worker-b", "--renew"];
    bus.run_scuttle(&misspelt)
        .await?
        .expect_failure(3, &["worker-b"])?;
    bus.run_scuttle(&[&again as &[&str], &["--renew"]].concat())
        .await?
        .expect_success()?;
    expect_revoked(&bus, &held, &old).await?;
    let mut agent = bus.start_agent(&bus.path("new.creds"), &host).await?;
    let reply = agent.report_inventory(&["decky-1"]).await?;
    assert!(!reply.stale, "{reply:?}");

    // A host that is enrolled again gets new credentials.
    bus.run_scuttle(&["decommission", "worker-a", "--force", "--yes"])
        .await?
        .expect_success()?;
    expect_revoked(&bus, agent.client(), &bus.path("new.creds")).await?;
    let third = [
        "enroll",
        "worker-a",
        "--host-uuid",
        "worker-a",
        "--out",
        "third.creds",
    ];
    bus.run_scuttle(&third).await?.expect_success()?;
    let mut agent = bus.start_agent(&bus.path("third.creds"), &host).await?;
    agent.report_inventory(&["decky-1"]).await?;
    Ok(())
}

/// A removal takes effect immediately, and the name can then be used again with new keys.
#[tokio::test]
async fn users_are_added_by_name_and_removed() -> TestResult {
    let bus = ProvisionedServer::start().await?;
    let _controller = bus.start_controller().await?;
    let creds = bus.add_user("olga", "operator").await?;
    let olga = bus.connect(&creds).await?;
    let host = olga.enroll("worker-a").await?.host.host_uuid;
    let accepted = olga.tear_down(&host, None).await?;
    assert_eq!(
        olga.operation(accepted.operation_id).await?.requested_by,
        "olga"
    );

    bus.run_scuttle(&["user", "remove", "olga"])
        .await?
        .expect_success()?;
    expect_revoked(&bus, &olga, &creds).await?;
    bus.run_scuttle(&["user", "remove", "olga"])
        .await?
        .expect_success()?;
    bus.run_scuttle(&["user", "remove", "nobody"])
        .await?
        .expect_failure(3, &["nobody"])?;
    bus.run_scuttle(&["user", "remove", "system"])
        .await?
        .expect_failure(3, &["system"])?;
    let again = [
        "user",
        "add",
        "olga",
        "--role",
        "viewer",
        "--dir",
        "bus",
        "--out",
        "again.creds",
    ];
    run_scuttle(&bus.path(""), &again, &[])
        .await?
        .expect_success()?;
    expect_not_accepted(&bus, &creds).await?;
    let again = bus.connect(&bus.path("again.creds")).await?;
    again.list_hosts().await?;
    for name in ["olga", "admin", "unknown", "controller"] {
        let arguments = [
            "user", "add", name, "--role", "viewer", "--dir", "bus", "--out", "x",
        ];
        let result = run_scuttle(&bus.path(""), &arguments, &[]).await?;
        result.expect_failure(4, &[name, "taken"])?;
    }
    Ok(())
}

#[tokio::test]
async fn errors_have_their_own_exit_code_and_text() -> TestResult {
    let bus = ProvisionedServer::start().await?;
    let enroll = ["enroll", "worker-b"];
    bus.run_scuttle(&enroll)
        .await?
        .expect_failure(6, &["no controller", subjects::HOSTS_ENROLL])?;
    let mut controller = bus.start_controller().await?;
    let vera = bus.add_user("vera", "viewer").await?;
    let vera = vera.to_str().context("the path is not UTF-8")?;
    let agent = bus.enroll("worker-a").await?;
    let agent = agent.to_str().context("the path is not UTF-8")?;
    for (creds, denied) in [
        (vera, "vera may read, but cannot enroll hosts"),
        (agent, "worker-a cannot enroll hosts"),
    ] {
        let arguments = ["enroll", "worker-b", "--nats-creds", creds];
        bus.run_scuttle(&arguments)
            .await?
            .expect_failure(4, &[denied])?;
    }
    let arguments = ["decommission", "worker-a", "--yes", "--nats-creds", vera];
    bus.run_scuttle(&arguments)
        .await?
        .expect_failure(4, &["vera may read, but cannot decommission hosts"])?;
    bus.run_scuttle(&["decommission", "worker-z", "--yes"])
        .await?
        .expect_failure(3, &["worker-z"])?;
    let existing_id = ["enroll", "worker-b", "--host-uuid", "worker-a"];
    bus.run_scuttle(&existing_id)
        .await?
        .expect_failure(4, &["rejected"])?;
    bus.run_scuttle(&["enroll", "a b"])
        .await?
        .expect_failure(2, &["a b"])?;
    let unreachable = ["enroll", "worker-b", "--nats-url", "nats://127.0.0.1:1"];
    bus.run_scuttle(&unreachable)
        .await?
        .expect_failure(6, &["nats://127.0.0.1:1", "start nats-server"])?;
    let wrong_password = [
        "enroll",
        "worker-b",
        "--nats-user",
        "vera",
        "--nats-password",
        "x",
    ];
    bus.run_scuttle(&wrong_password)
        .await?
        .expect_failure(4, &["not logged in", "does not accept vera"])?;
    let missing_dir = ["enroll", "worker-b", "--dir", "nowhere"];
    bus.run_scuttle(&missing_dir)
        .await?
        .expect_failure(2, &["nowhere", "scuttle init"])?;

    // A client that receives the requests and never replies.
    controller.kill().await?;
    let silent = bus.connect(&bus.credentials("controller")).await?;
    let mut requests = silent.nats().subscribe(subjects::ALL_REQUESTS).await?;
    let (result, request) = tokio::join!(bus.run_scuttle(&enroll), requests.next());
    result?.expect_failure(5, &["did not answer", "may have been accepted: try again"])?;
    assert_eq!(
        request.context("no request arrived")?.subject.as_str(),
        subjects::HOSTS_ENROLL
    );
    assert!(!bus.path("worker-b.creds").exists());
    Ok(())
}

#[tokio::test]
async fn only_the_owner_can_lock_the_bus_directory_and_the_wait_for_the_lock_ends() -> TestResult {
    let folder = tempfile::tempdir()?;
    run_scuttle(folder.path(), &["init"], &[])
        .await?
        .expect_success()?;
    let path = folder.path().join("bus/lock");
    let mode = fs::metadata(&path)?.permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let lock = fs::File::open(&path)?;
    lock.lock()?;
    let holder = format!("process {} has held the lock", std::process::id());
    for arguments in [
        &["user", "add", "olga", "--role", "viewer"] as &[&str],
        &["user", "remove", "olga"],
    ] {
        let result = run_scuttle(folder.path(), arguments, &[]).await?;
        result.expect_failure(1, &["bus/lock", &holder])?;
    }
    Ok(())
}

#[tokio::test]
async fn init_makes_keys_readable_only_by_the_owner_and_replaces_nothing() -> TestResult {
    let folder = tempfile::tempdir()?;
    let arguments = ["init", "--websocket-port", "18222"];
    let result = run_scuttle(folder.path(), &arguments, &[]).await?;
    let output = format!("{}{}", result.stdout, result.stderr);
    let configuration = result.expect_success()?;
    let tested = std::process::Command::new(server::nats_server_path()?)
        .args(["-t", "-c", &configuration])
        .current_dir("/")
        .output()?;
    ensure!(tested.status.success(), "{tested:?}");

    let bus = folder.path().join("bus");
    let mode =
        |path: &Path| Ok::<_, std::io::Error>(fs::metadata(path)?.permissions().mode() & 0o777);
    let mut seeds = Vec::new();
    for secret in ["keys", "creds"] {
        assert_eq!(mode(&bus.join(secret))?, 0o700, "{secret}");
        for entry in fs::read_dir(bus.join(secret))? {
            let path = entry?.path();
            assert_eq!(mode(&path)?, 0o600, "{}", path.display());
            let text = fs::read_to_string(&path)?;
            let seed = text
                .lines()
                .find(|line| line.starts_with('S') && line.len() == 58);
            seeds.push(seed.with_context(|| path.display().to_string())?.to_owned());
        }
    }
    assert_eq!(seeds.len(), 8 + 3);
    let mut open = output;
    for folder in ["server", "accounts"] {
        for entry in fs::read_dir(bus.join(folder))? {
            let path = entry?.path();
            // The server creates its own folders.
            if path.is_file() {
                open += &fs::read_to_string(path)?;
            }
        }
    }
    for seed in &seeds {
        assert!(
            !open.contains(seed.as_str()),
            "a seed is where all may read"
        );
    }

    let before = fs::read_to_string(bus.join("keys/agent.seed"))?;
    let again = run_scuttle(folder.path(), &["init"], &[]).await?;
    again.expect_failure(1, &["bus", "already exists"])?;
    assert_eq!(fs::read_to_string(bus.join("keys/agent.seed"))?, before);
    let beyond = ["init", "--dir", "other", "--host", "0.0.0.0"];
    let beyond = run_scuttle(folder.path(), &beyond, &[]).await?;
    beyond.expect_failure(2, &["0.0.0.0", "--server-cert"])?;
    let missing = [
        "init",
        "--dir",
        "other",
        "--server-cert",
        "c.pem",
        "--server-key",
        "k.pem",
    ];
    let missing = run_scuttle(folder.path(), &missing, &[]).await?;
    missing.expect_failure(2, &["c.pem"])?;
    // No partial output is left behind either.
    let remaining: Vec<_> = fs::read_dir(folder.path())?
        .map(|entry| entry.map(|entry| entry.file_name()))
        .collect::<Result<_, _>>()?;
    assert_eq!(remaining, ["bus"]);
    Ok(())
}
