//! The controller's HTTP: what a browser gets and may do with it, what a watchdog reads, and who is kept waiting.

use anyhow::{Context, Result};
use scuttle_tests::process::Process;
use scuttle_tests::wait::within;
use scuttle_tests::{Controller, Nats, Role, TestResult, until};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A controller that answers HTTP.
struct Served {
    controller: Process,
    address: String,
    _dir: TempDir,
}

impl Served {
    /// On a server, which need not run.
    async fn start(nats: &Nats) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let mut command = Controller::command();
        command
            .args(["--nats-url", &nats.url(), "--http", "127.0.0.1:0"])
            .args(["--web-nats-url", "ws://swarm.example:8421", "--data-dir"])
            .arg(dir.path().join("controller"))
            .envs(nats.environment(Role::Controller));
        let log = dir.path().join("log");
        let mut controller = Process::spawn("the controller", command, &log)?;
        // With the page or without.
        let line = controller.line(" at http://").await?;
        let (_, address) = line.split_once("http://").context("an address")?;
        let (address, _) = address.split_once('/').context("a path")?;
        Ok(Self {
            address: address.to_owned(),
            controller,
            _dir: dir,
        })
    }

    /// The answer to a request, whole.
    async fn ask(&self, request: &str) -> Result<String> {
        let mut stream = TcpStream::connect(&self.address).await?;
        let request = format!("{request} HTTP/1.1\r\nhost: scuttle\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        within("an answer", stream.read_to_string(&mut answer)).await??;
        Ok(answer)
    }

    /// Waits until a path is answered with these words.
    async fn says(&self, path: &str, words: &[&str]) -> TestResult {
        let request = format!("GET {path}");
        let all = |answer: &String| words.iter().all(|word| answer.contains(word));
        until("the answer", || self.ask(&request), all).await?;
        Ok(())
    }
}

#[tokio::test]
async fn ready_means_that_a_request_would_be_answered() -> TestResult {
    let mut nats = Nats::stopped().await?;
    let mut served = Served::start(&nats).await?;
    served.says("/healthz", &["200 OK", "alive"]).await?;
    let waits = ["503 Service Unavailable", "does not answer"];
    served.says("/readyz", &waits).await?;
    nats.restart().await?;
    served.says("/readyz", &["200 OK", "ready"]).await?;
    nats.kill().await?;
    let away = ["503 Service Unavailable", "reconnecting"];
    served.says("/readyz", &away).await?;
    served.says("/healthz", &["200 OK"]).await?;
    nats.restart().await?;
    served.says("/readyz", &["200 OK"]).await?;
    served.controller.signal("TERM").await?;
    assert!(served.controller.exit().await?.success());
    Ok(())
}

#[tokio::test]
async fn the_page_may_reach_the_nats_server_and_nothing_else() -> TestResult {
    let nats = Nats::start().await?;
    let served = Served::start(&nats).await?;
    let config = served.ask("GET /config.json").await?;
    assert!(
        config.contains("\"nats_url\":\"ws://swarm.example:8421\""),
        "{config}"
    );
    // With the page or without: it depends on whether there was a Node to build it.
    for path in ["/config.json", "/", "/nothing"] {
        let answer = served.ask(&format!("GET {path}")).await?.to_lowercase();
        for header in [
            "content-security-policy: default-src 'none'; script-src 'self'; style-src 'self';",
            "connect-src 'self' ws://swarm.example:8421;",
            "frame-ancestors 'none'",
            "x-content-type-options: nosniff",
            "referrer-policy: no-referrer",
        ] {
            assert!(answer.contains(header), "{header} of {path}: {answer}");
        }
        assert!(!answer.contains("unsafe"), "{answer}");
    }
    for path in ["/nothing", "/../Cargo.toml", "/.gitignore", "//etc/passwd"] {
        let answer = served.ask(&format!("GET {path}")).await?;
        assert!(answer.starts_with("HTTP/1.1 404"), "{path}: {answer}");
    }
    let answer = served.ask("POST /").await?;
    assert!(answer.starts_with("HTTP/1.1 405"), "{answer}");
    let answer = served.ask("HEAD /healthz").await?;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");
    Ok(())
}

#[tokio::test]
async fn silent_connections_keep_nobody_out() -> TestResult {
    let nats = Nats::start().await?;
    let served = Served::start(&nats).await?;
    let mut silent = Vec::new();
    for _ in 0..70 {
        silent.push(TcpStream::connect(&served.address).await?);
    }
    served.says("/healthz", &["200 OK"]).await
}

#[tokio::test]
async fn an_address_that_is_taken_is_named() -> TestResult {
    let nats = Nats::start().await?;
    let served = Served::start(&nats).await?;
    let dir = tempfile::tempdir()?;
    let output = Controller::command()
        .args(["--nats-url", &nats.url(), "--http", &served.address])
        .arg("--data-dir")
        .arg(dir.path())
        .output()
        .await?;
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains(&format!("cannot listen on {}", served.address)),
        "{said}"
    );
    assert!(said.contains("--http"), "{said}");
    Ok(())
}
