//! `requested_by` is the user that the NATS server vouches for, whatever a client writes into its
//! headers to claim another name or to hide the server's header. These tests also record how the
//! server treats headers, so that a server that behaves differently is noticed.

use anyhow::{Context, Result, ensure};
use async_nats::HeaderMap;
use scuttle_schemas::operations::OperationRecord;
use scuttle_schemas::teardown::TeardownAccepted;
use scuttle_schemas::{headers, subjects};
use scuttle_tests::clients::raw_client::{RawClient, RawMessage};
use scuttle_tests::cluster::provisioned_server::connect_options;
use scuttle_tests::servers::nats_server::NatsServer;
use scuttle_tests::{Client, Cluster, Controller, Nats, ProvisionedServer, Role, TestResult};
use serde_json::{Value, json};

const FORGED: &str = r#"{"acc":"OPERATORS","user":"mallory","name_tag":"mallory"}"#;

/// Sends a request of an operator that calls itself mallory with this header block, and returns the
/// body of the reply.
fn request(nats: &Nats, subject: &str, block: &str, request: &Value) -> Result<Value> {
    let mut client = RawClient::connect(nats, Role::Operator)?;
    let inbox = "_INBOX.operator.raw";
    client.subscribe(inbox)?;
    let payload = request.to_string();
    let message = RawMessage {
        subject: subject.as_bytes(),
        reply: Some(inbox.as_bytes()),
        block: Some(block.as_bytes()),
        payload: payload.as_bytes(),
    };
    client.send(&message.encode())?;
    Ok(serde_json::from_slice(&client.next_message()?.1)?)
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

#[tokio::test(flavor = "multi_thread")]
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
        let reply = request(&cluster.servers[0], subject, &forged, &json!({}))?;
        ensure!(
            reply["error"]["code"] == "bad_request",
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
    let teardown = json!({ "host_uuid": host });
    let reply = request(&cluster.servers[0], subjects::TEARDOWN, block, &teardown)?;
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
    let names = [headers::REQUEST_INFO, "nats-request-info"];
    for (name, host) in names.into_iter().zip(["worker-a", "worker-b"]) {
        let host = olga.enroll(host).await?.host.host_uuid;
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

/// On a server without accounts, nothing marks the headers that the server wrote.
#[tokio::test]
async fn the_requester_is_unknown_on_a_server_without_accounts() -> TestResult {
    let dir = tempfile::tempdir()?;
    let server = NatsServer::start_without_accounts(dir.path()).await?;
    let _controller = Controller::start(&server.url(), Vec::new(), &dir.path().join("controller"))?;
    let options = async_nats::ConnectOptions::new();
    let client = Client::connect_with(options, &server.url()).await?;
    client.wait_until_ready().await?;
    let host = client.enroll("worker-a").await?.host.host_uuid;
    let mut forged = HeaderMap::new();
    forged.append(
        headers::REQUEST_INFO,
        r#"{"acc":"OPERATORS","user":"root"}"#,
    );
    let request = json!({ "host_uuid": host });
    let payload = serde_json::to_vec(&request)?;
    let nats = client.nats();
    nats.publish_with_headers(subjects::TEARDOWN, forged.clone(), payload.into())
        .await?;
    let accepted: TeardownAccepted = client
        .request_with_headers(subjects::TEARDOWN, forged, &request)
        .await?;
    assert!(
        accepted.repeated,
        "the request without a reply subject was executed"
    );
    let operation = client.operation(accepted.operation_id).await?;
    assert_eq!(operation.requested_by, headers::UNKNOWN_REQUESTER);
    Ok(())
}
