//! `requested_by` is the user that the NATS server vouches for, whatever a client writes into its
//! headers to claim another name or to hide the server's header. These tests also record how the
//! server treats headers, so that a server that behaves differently is noticed.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use anyhow::{Context, Result, ensure};
use async_nats::HeaderMap;
use scuttle_schemas::operations::OperationRecord;
use scuttle_schemas::teardown::TeardownAccepted;
use scuttle_schemas::{headers, subjects};
use scuttle_tests::cluster::provisioned_server::connect_options;
use scuttle_tests::wait::EVENT_TIMEOUT;
use scuttle_tests::{Client, Cluster, Nats, ProvisionedServer, Role, TestResult};
use serde_json::{Value, json};

const FORGED: &str = r#"{"acc":"OPERATORS","user":"mallory","name_tag":"mallory"}"#;

/// A connection without a client library, as an operator that calls itself mallory.
struct RawConnection {
    stream: TcpStream,
    lines: BufReader<TcpStream>,
}

impl RawConnection {
    fn connect(nats: &Nats) -> Result<Self> {
        let stream = TcpStream::connect(nats.url().replace("nats://", ""))?;
        stream.set_read_timeout(Some(EVENT_TIMEOUT))?;
        let lines = BufReader::new(stream.try_clone()?);
        let (user, password) = (Role::Operator.user(), nats.password(Role::Operator));
        let mut raw = Self { stream, lines };
        write!(
            raw.stream,
            "CONNECT {{\"user\":\"{user}\",\"pass\":\"{password}\",\"name\":\"mallory\",\"headers\":true,\"verbose\":false}}\r\nSUB _INBOX.raw 1\r\n"
        )?;
        Ok(raw)
    }

    /// Sends a request with this header block and returns the body of the reply.
    fn request(&mut self, subject: &str, block: &str, request: &Value) -> Result<Value> {
        let payload = request.to_string();
        let (header, total) = (block.len(), block.len() + payload.len());
        write!(
            self.stream,
            "HPUB {subject} _INBOX.raw {header} {total}\r\n{block}{payload}\r\n"
        )?;
        loop {
            let mut line = String::new();
            self.lines.read_line(&mut line).context("no reply")?;
            ensure!(!line.is_empty() && !line.starts_with("-ERR"), "{line:?}");
            // `MSG subject sid length`, or `HMSG subject sid header total`.
            let fields: Vec<&str> = line.split_whitespace().collect();
            let header = match fields[0] {
                "MSG" => 0,
                "HMSG" => fields[fields.len() - 2].parse()?,
                _ => continue,
            };
            let total: usize = fields[fields.len() - 1].parse()?;
            let mut message = vec![0; total];
            self.lines.read_exact(&mut message)?;
            return Ok(serde_json::from_slice(&message[header..])?);
        }
    }
}

/// Returns header blocks, each with a name and the requester that must be recorded, or `None` if
/// the request must be rejected.
fn header_blocks() -> Vec<(&'static str, String, Option<&'static str>)> {
    let operator = Some(Role::Operator.user());
    let info = format!("{}: {FORGED}", headers::REQUEST_INFO);
    let lower = info.replace("Nats-Request-Info", "nats-request-info");
    vec![
        // The server removes the headers that it finds.
        ("none", "X: y\r\n\r\n".to_owned(), operator),
        ("one", format!("{info}\r\n\r\n"), operator),
        ("two", format!("{info}\r\nX: y\r\n{info}\r\n\r\n"), operator),
        ("in small letters", format!("{lower}\r\n\r\n"), operator),
        ("early end", format!("X: y\r\n\r\n{info}\r\n\r\n"), operator),
        // A header line for the controller, but not for the server.
        ("bare line feed", format!("X: y\n{info}\r\n\r\n"), None),
        ("glued to a value", format!("X: y\n{info}\r\nZ: abcd"), None),
        ("glued to a name", format!("X: y\n{info}\r\nZZcd"), None),
        ("folded into it", format!("X: y\n{info}\n \r\n"), None),
        // An anonymous user instead of mallory is not accepted either.
        ("hidden in a value", "Z: abcd".to_owned(), None),
        ("hidden in a name", "ZZcd".to_owned(), None),
    ]
}

#[tokio::test]
async fn no_header_block_makes_a_requester_pass_for_another_user() -> TestResult {
    let cluster = Cluster::start().await?;
    let with_status = ("glued to a status", "NATS/1.0 200 cd".to_owned(), None);
    let blocks = header_blocks().into_iter().map(|(name, block, expected)| {
        let block = format!("NATS/1.0\r\n{block}");
        (name, block, expected)
    });
    for (name, block, expected) in blocks.chain([with_status]) {
        // One host for each block: a second teardown of the same host would be a repeat.
        let host = cluster.enroll_host(&name.replace(' ', "-")).await?;
        check(&cluster, &host, &block, expected)
            .await
            .context(name)?;
    }

    let forged = format!(
        "NATS/1.0\r\nX: y\n{}: {FORGED}\r\n\r\n",
        headers::REQUEST_INFO
    );
    for subject in subjects::CHANGE_REQUESTS
        .into_iter()
        .chain(subjects::READ_REQUESTS)
    {
        let mut raw = RawConnection::connect(&cluster.servers[0])?;
        let forged = forged.clone();
        let request =
            tokio::task::spawn_blocking(move || raw.request(subject, &forged, &json!({})));
        let reply = request.await??;
        let message = reply["error"]["message"].as_str().unwrap_or_default();
        ensure!(
            message.contains(headers::REQUEST_INFO),
            "{subject}: {reply}"
        );
    }
    Ok(())
}

async fn check(
    cluster: &Cluster,
    host: &scuttle_schemas::HostId,
    block: &str,
    expected: Option<&str>,
) -> TestResult {
    let mut raw = RawConnection::connect(&cluster.servers[0])?;
    let request = json!({ "host_uuid": host });
    let block = block.to_owned();
    let reply =
        tokio::task::spawn_blocking(move || raw.request(subjects::TEARDOWN, &block, &request));
    let reply = reply.await??;
    match expected {
        Some(user) => {
            let accepted: TeardownAccepted = serde_json::from_value(reply)?;
            let operation = cluster.operator.operation(accepted.operation_id).await?;
            ensure!(operation.requested_by == user, "{operation:?}");
        }
        None => ensure!(reply["error"]["code"] == "bad_request", "{reply}"),
    }
    let mallory = |operation: &OperationRecord| operation.requested_by != Role::Operator.user();
    ensure!(
        !cluster
            .operator
            .list_operations()
            .await?
            .iter()
            .any(mallory)
    );
    Ok(())
}

/// The server identifies users with credentials by their key. The recorded name is the name in the
/// signed credentials, not the name that the client announces.
#[tokio::test]
async fn the_requester_is_the_signed_name_of_a_user_with_credentials() -> TestResult {
    let bus = ProvisionedServer::start().await?;
    let _controller = bus.start_controller().await?;
    let creds = bus.add_user("olga", "operator").await?;
    let options = connect_options(&creds)?.name("mallory");
    let olga = Client::connect_with(options, &bus.url()).await?;
    for name in [headers::REQUEST_INFO, "nats-request-info"] {
        let host = olga.enroll(name).await?.host.host_uuid;
        let mut forged = HeaderMap::new();
        forged.append(name, FORGED);
        forged.append(name, FORGED);
        let request = json!({ "host_uuid": host });
        let accepted: TeardownAccepted = olga
            .request_with_headers(subjects::TEARDOWN, forged, &request)
            .await?;
        let operation = olga.operation(accepted.operation_id).await?;
        assert_eq!(operation.requested_by, "olga", "{name}");
    }
    Ok(())
}
