//! Header blocks that no client library sends. The tests write them to the server as raw bytes, and
//! the server passes them on. Such a block may make the controller lose its connection, but must
//! not make it crash or lose its record.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, ensure};
use async_nats::Request;
use scuttle_schemas::subjects::{self, AgentChannel};
use scuttle_tests::{Cluster, Nats, Role, TestResult, wait_until};

/// The time after which an unanswered request is sent again.
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// Publishes a message with this header block, and waits until the server has received it.
fn publish_raw(nats: &Nats, role: Role, subject: &str, block: &[u8], payload: &[u8]) -> TestResult {
    let address = nats.url().replace("nats://", "");
    let mut stream = TcpStream::connect(&address).context("connect")?;
    let (user, password) = (role.user(), nats.password(role));
    let connect = format!(
        "CONNECT {{\"user\":\"{user}\",\"pass\":\"{password}\",\"headers\":true,\"verbose\":false,\"no_responders\":true}}\r\n"
    );
    let (header, total) = (block.len(), block.len() + payload.len());
    let head = format!("HPUB {subject} _INBOX.raw.1 {header} {total}\r\n");
    let bytes = [
        connect.as_bytes(),
        head.as_bytes(),
        block,
        payload,
        b"\r\nPING\r\n",
    ];
    stream.write_all(&bytes.concat())?;
    for line in BufReader::new(stream).lines() {
        let line = line?;
        ensure!(!line.starts_with("-ERR"), "{line}");
        if line.starts_with("PONG") {
            return Ok(());
        }
    }
    anyhow::bail!("the server closed the connection")
}

/// Waits until the controller replies to a request. The request is repeated, because it may be lost
/// together with the controller's connection.
async fn wait_for_reply(cluster: &Cluster) -> TestResult {
    let ask = || {
        let request = Request::new()
            .timeout(Some(RETRY_AFTER))
            .payload("{}".into());
        let nats = cluster.operator.nats();
        nats.send_request(subjects::HOSTS_LIST, request)
    };
    wait_until("the controller replies again", ask, |_| true).await?;
    Ok(())
}

#[tokio::test]
async fn no_header_block_stops_the_controller() -> TestResult {
    let mut cluster = Cluster::start().await?;
    let mut agent = cluster
        .start_agent("worker-a", &["decky-1", "decky-2"])
        .await?;
    let accepted = cluster.operator.tear_down(&agent.host, "decky-1").await?;
    let many = format!("NATS/1.0\r\n{}\r\n", "a:\r\n".repeat(200_000));
    let long = format!("NATS/1.0\r\nx: {}\r\n\r\n", "y".repeat(900_000));
    let blocks: [&[u8]; 10] = [
        b"NATS/1.0\r\nx: a\rb\r\n\r\n",
        b"NATS/1.0\r\nx: \xff\xfe\r\n\r\n",
        b"NATS/1.0\r\nx: a\n b\r\n\tc\r\n\r\n",
        b"NATS/1.0\r\nno colon\r\n\r\n",
        b"NATS/1.0 99999 what\r\n\r\n",
        b"HTTP/1.1\r\nx: y\r\n\r\n",
        b"\r\n\r\n",
        b"NATS/1.0\r\n: nameless\r\n\x00: \x00\r\n\r\n",
        many.as_bytes(),
        long.as_bytes(),
    ];
    let heartbeat = AgentChannel::Heartbeat.subject(&agent.host);
    for (number, block) in blocks.into_iter().enumerate() {
        for (role, subject) in [
            (Role::Operator, subjects::TEARDOWN),
            (Role::Agents, heartbeat.as_str()),
        ] {
            publish_raw(&cluster.servers[0], role, subject, block, b"{}")
                .with_context(|| format!("block {number}"))?;
            wait_for_reply(&cluster)
                .await
                .with_context(|| format!("block {number} on {subject}"))?;
            cluster.controllers[0].process().ensure_running()?;
        }
    }
    let operations = cluster.operator.list_operations().await?;
    assert_eq!(operations.len(), 1);
    assert_eq!(operations[0].operation_id, accepted.operation_id);
    assert_eq!(
        cluster.operator.shard_states(&agent.host).await?,
        "decky-1 tearing_down, decky-2 running"
    );
    assert!(!agent.send_heartbeat().await?.stale);
    Ok(())
}
