//! The controller's HTTP endpoint: health and readiness, the web page and its security headers, and
//! slow clients.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use scuttle_controller::store::{RedbStore, Store};
use scuttle_core::{Change, HostRow, ShardRow};
use scuttle_schemas::agents::ReportedState;
use scuttle_schemas::hosts::HostStatus;
use scuttle_schemas::shards::ShardState;
use scuttle_schemas::{HostId, Labels, MAX_DECKIES_PER_HOST, Services, Timestamp};
use scuttle_tests::programs::process::Process;
use scuttle_tests::{Controller, Http, Nats, Role, TestResult};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// The number of hosts in the large record, which takes more than a second to load.
const HOSTS: usize = 16;

/// The addresses of NATS servers that the page gets.
const WEB_NATS_URLS: &str = "ws://a.example:8421,wss://b.example:8422";

/// A controller with an HTTP endpoint.
struct HttpController {
    controller: Process,
    http: Http,
    _dir: TempDir,
}

impl HttpController {
    /// Starts a controller that connects to `nats`. The server need not be running.
    async fn start(nats: &Nats) -> Result<Self> {
        Self::start_in(tempfile::tempdir()?, nats).await
    }

    async fn start_in(dir: TempDir, nats: &Nats) -> Result<Self> {
        let mut command = Controller::command();
        command
            .args(["--nats-url", &nats.url(), "--http", "127.0.0.1:0"])
            .args(["--web-nats-url", WEB_NATS_URLS, "--data-dir"])
            .arg(dir.path().join("controller"))
            .envs(nats.environment(Role::Controller));
        let log = dir.path().join("log");
        let mut controller = Process::spawn("the controller", command, &log)?;
        let line = controller.wait_for_line(" at http://").await?;
        Ok(Self {
            http: Http::from_log(&line).context("no address in the line")?,
            controller,
            _dir: dir,
        })
    }
}

#[tokio::test]
async fn the_controller_is_ready_only_while_it_is_connected_and_running() -> TestResult {
    let mut nats = Nats::start_stopped().await?;
    let mut served = HttpController::start(&nats).await?;
    served
        .http
        .wait_for_texts("/healthz", &["200 OK", "alive"])
        .await?;
    let waits = ["503 Service Unavailable", "connecting to the NATS server"];
    served.http.wait_for_texts("/readyz", &waits).await?;
    nats.restart().await?;
    served
        .http
        .wait_for_texts("/readyz", &["200 OK", "ready: leading"])
        .await?;
    nats.kill().await?;
    let away = ["503 Service Unavailable", "reconnecting"];
    served.http.wait_for_texts("/readyz", &away).await?;
    served.http.wait_for_texts("/healthz", &["200 OK"]).await?;
    nats.restart().await?;
    served.http.wait_for_texts("/readyz", &["200 OK"]).await?;
    // Without a server, the controller waits some seconds to send its last replies.
    nats.kill().await?;
    served.http.wait_for_texts("/readyz", &away).await?;
    served.controller.send_signal("TERM").await?;
    let stops = ["503 Service Unavailable", "stopping"];
    served.http.wait_for_texts("/readyz", &stops).await?;
    assert!(served.controller.wait_for_exit().await?.success());
    Ok(())
}

#[tokio::test]
async fn a_controller_is_not_ready_while_it_loads_its_record() -> TestResult {
    let nats = Nats::start().await?;
    let dir = tempfile::tempdir()?;
    write_large_record(&dir.path().join("controller"))?;
    let served = HttpController::start_in(dir, &nats).await?;
    let loads = ["503 Service Unavailable", "loading the record"];
    served.http.wait_for_texts("/readyz", &loads).await?;
    served
        .http
        .wait_for_texts("/readyz", &["200 OK", "ready: leading"])
        .await
}

/// Writes a record that takes a long time to load: hosts with the maximum number of deckies.
fn write_large_record(data_dir: &Path) -> TestResult {
    let now = Timestamp::from_millis(1_795_425_109_000);
    let mut changes = Vec::new();
    for number in 0..HOSTS {
        let host: HostId = format!("host-{number}").parse()?;
        changes.push(Change::Host(Box::new(HostRow {
            host: host.clone(),
            name: host.as_str().parse()?,
            address: None,
            labels: Labels::default(),
            status: HostStatus::Enrolled,
            enrolled_at: now,
            last_heartbeat: None,
            interval_ms: 10_000,
            agent_version: None,
            inventory_error: None,
            applied: None,
            notes: Vec::new(),
            protected: false,
        })));
        for number in 0..MAX_DECKIES_PER_HOST {
            changes.push(Change::Shard(Arc::new(ShardRow {
                host: host.clone(),
                decky: format!("decky-{number}").parse()?,
                ip: None,
                services: Services::default(),
                labels: Labels::default(),
                state: ShardState::Running,
                reported: ReportedState::Running,
                last_error: None,
                operation: None,
                last_seen: now,
                updated_at: now,
                revision: 0,
                registered: 0,
                deployment: None,
                first_listed_in: None,
                protected: false,
            })));
        }
    }
    RedbStore::open(data_dir)?.append(&changes)?;
    Ok(())
}

#[tokio::test]
async fn the_page_may_connect_only_to_the_nats_servers() -> TestResult {
    let nats = Nats::start().await?;
    let served = HttpController::start(&nats).await?;
    let config = served.http.send("GET /config.json").await?;
    assert!(
        config.contains(&format!("\"nats_url\":\"{WEB_NATS_URLS}\"")),
        "{config}"
    );
    // The controller is built with or without the page, depending on whether Node was available.
    for path in ["/config.json", "/", "/nothing"] {
        let reply = served
            .http
            .send(&format!("GET {path}"))
            .await?
            .to_lowercase();
        for header in [
            "content-security-policy: default-src 'none'; script-src 'self'; style-src 'self';",
            "connect-src 'self' ws://a.example:8421 wss://b.example:8422;",
            "frame-ancestors 'none'",
            "x-content-type-options: nosniff",
            "referrer-policy: no-referrer",
        ] {
            assert!(reply.contains(header), "{header} of {path}: {reply}");
        }
        assert!(!reply.contains("unsafe"), "{reply}");
    }
    for path in ["/nothing", "/../Cargo.toml", "/.gitignore", "//etc/passwd"] {
        let reply = served.http.send(&format!("GET {path}")).await?;
        assert!(reply.starts_with("HTTP/1.1 404"), "{path}: {reply}");
    }
    let reply = served.http.send("POST /").await?;
    assert!(reply.starts_with("HTTP/1.1 405"), "{reply}");
    let reply = served.http.send("HEAD /healthz").await?;
    assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
    assert!(reply.ends_with("\r\n\r\n"), "{reply}");
    Ok(())
}

#[tokio::test]
async fn idle_connections_do_not_block_other_clients() -> TestResult {
    let nats = Nats::start().await?;
    let served = HttpController::start(&nats).await?;
    let mut silent = Vec::new();
    for _ in 0..70 {
        silent.push(TcpStream::connect(&served.http.address).await?);
    }
    served.http.wait_for_texts("/healthz", &["200 OK"]).await
}

#[tokio::test]
async fn health_is_served_while_other_clients_hold_every_connection() -> TestResult {
    let nats = Nats::start().await?;
    let served = HttpController::start(&nats).await?;
    served.http.wait_for_texts("/readyz", &["200 OK"]).await?;
    // Half of the connections never read a response. The others poll without a pause.
    let mut unread = Vec::new();
    let mut polls = JoinSet::new();
    for _ in 0..64 {
        let mut connection = TcpStream::connect(&served.http.address).await?;
        let requests = "GET /metrics HTTP/1.1\r\nhost: a\r\n\r\n".repeat(100);
        // The write ends when the controller no longer reads.
        let _ = timeout(
            Duration::from_millis(10),
            connection.write_all(requests.as_bytes()),
        )
        .await;
        unread.push(connection);
        polls.spawn(poll_forever(served.http.clone()));
    }
    for _ in 0..5 {
        for (path, text) in [
            ("/healthz", "alive"),
            ("/readyz", "ready: leading"),
            ("/metrics", "# EOF"),
        ] {
            served.http.wait_for_texts(path, &["200 OK", text]).await?;
        }
    }
    served
        .controller
        .log()
        .contains("all HTTP connections are in use")
        .then_some(())
        .context("no warning")
}

/// Sends one request after another, on as few connections as the server allows.
async fn poll_forever(http: Http) {
    loop {
        let Ok(mut connection) = TcpStream::connect(&http.address).await else {
            continue;
        };
        let mut response = [0; 4096];
        while connection
            .write_all(b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n")
            .await
            .is_ok()
            && matches!(connection.read(&mut response).await, Ok(1..))
        {}
    }
}

#[tokio::test]
async fn an_http_address_in_use_is_named_in_the_error() -> TestResult {
    let nats = Nats::start().await?;
    let served = HttpController::start(&nats).await?;
    let dir = tempfile::tempdir()?;
    let output = Controller::command()
        .args(["--nats-url", &nats.url(), "--http", &served.http.address])
        .arg("--data-dir")
        .arg(dir.path())
        .output()
        .await?;
    assert!(!output.status.success());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        stderr.contains(&format!("cannot listen on {}", served.http.address)),
        "{stderr}"
    );
    assert!(stderr.contains("--http"), "{stderr}");
    Ok(())
}
