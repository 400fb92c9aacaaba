//! Messages that the client library cannot parse, sent as raw bytes. The controller receives with a
//! separate parser, so such a message is rejected and affects no other client.

use anyhow::{Context, Result, ensure};
use scuttle_schemas::subjects::{self, AgentChannel, DiscoveryVerb};
use scuttle_tests::clients::raw_client::{RawClient, RawMessage};
use scuttle_tests::{
    Client, Cluster, ExpectRejection, FakeAgent, Role, TestResult, report_hostile_checks,
};
use serde_json::Value;

/// Header blocks that are malformed, each with its name.
pub(super) fn header_blocks() -> Vec<(&'static str, Vec<u8>)> {
    let mut blocks: Vec<(&str, Vec<u8>)> = [
        (
            "a value that is not UTF-8",
            &b"NATS/1.0\r\nx: \xff\xfe\r\n\r\n"[..],
        ),
        ("no colon", b"NATS/1.0\r\nno colon\r\n\r\n"),
        ("a space before the colon", b"NATS/1.0\r\nx : y\r\n\r\n"),
        ("no version line", b"x: y\r\n\r\n"),
        ("another version", b"HTTP/1.1\r\nx: y\r\n\r\n"),
        ("a bad status", b"NATS/1.0 abc\r\n\r\n"),
        ("a huge status", b"NATS/1.0 99999999999 what\r\n\r\n"),
        (
            "a name that is not ASCII",
            b"NATS/1.0\r\n\xc3\xa9: y\r\n\r\n",
        ),
        ("a name that is not UTF-8", b"NATS/1.0\r\n\xe9: y\r\n\r\n"),
        ("no name", b"NATS/1.0\r\n: nameless\r\n\x00: \x00\r\n\r\n"),
        ("a bare CR LF", b"\r\n"),
        ("only line ends", b"\r\n\r\n"),
        ("a bare CR", b"NATS/1.0\r\nx: a\rb\r\n\r\n"),
        ("a bare LF", b"NATS/1.0\r\nx: a\nb: c\r\n\r\n"),
        ("no end", b"NATS/1.0\r\nx: a"),
    ]
    .map(|(name, block)| (name, block.to_vec()))
    .into();
    let many = format!("NATS/1.0\r\n{}\r\n", "a:\r\n".repeat(200_000));
    blocks.push(("200,000 headers", many.into_bytes()));
    blocks
}

/// The senders of malformed messages, and the reply that each of them gets.
struct Senders {
    viewer: RawClient,
    operator: RawClient,
    agents: RawClient,
}

impl Senders {
    fn connect(cluster: &Cluster) -> Result<Self> {
        let connect = |role| RawClient::connect(&cluster.servers[0], role);
        let mut senders = Self {
            viewer: connect(Role::Viewer)?,
            operator: connect(Role::Operator)?,
            agents: connect(Role::Agents)?,
        };
        senders.viewer.subscribe("_INBOX.viewer.raw")?;
        senders.operator.subscribe("_INBOX.operator.raw")?;
        Ok(senders)
    }
}

/// Sends a request, and checks that the controller replies: with a rejection, unless the server has
/// replaced the block while it added the requester.
fn expect_reply(client: &mut RawClient, user: Role, subject: &str, block: &[u8]) -> TestResult {
    let reply = format!("_INBOX.{user}.raw");
    let message = RawMessage {
        subject: subject.as_bytes(),
        reply: Some(reply.as_bytes()),
        block: Some(block),
        payload: b"{}",
    };
    client.send(&message.encode())?;
    let (_, payload) = client.next_message().context(subject.to_owned())?;
    let reply: Value = serde_json::from_slice(&payload)?;
    let is_rejected = reply["error"]["code"] == "bad_request";
    ensure!(
        is_rejected || reply["revision"].is_u64(),
        "{subject}: {reply}"
    );
    Ok(())
}

/// Checks that a read, a change and a report are served at the first attempt.
async fn expect_service(cluster: &Cluster, viewer: &Client, agent: &mut FakeAgent) -> TestResult {
    viewer.list_hosts().await.context("a read")?;
    let change = cluster.operator.tear_down(&agent.host, "missing").await;
    ensure!(change.expect_rejection().status == 404, "a change");
    ensure!(!agent.send_heartbeat().await.context("a report")?.stale);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_message_is_rejected_and_affects_no_other_client() -> TestResult {
    let mut cluster = Cluster::start().await?;
    let mut agent = cluster.start_agent("worker-a", &["decky-1"]).await?;
    let viewer = Client::connect(&cluster.servers[0], Role::Viewer).await?;
    let accepted = cluster.operator.tear_down(&agent.host, "decky-1").await?;
    let mut senders = Senders::connect(&cluster)?;
    let mut checks = 0;
    for (number, (name, block)) in header_blocks().into_iter().enumerate() {
        // One host for each block, because a host is quarantined after ten malformed messages.
        let host = cluster.enroll_host(&format!("mallory-{number}")).await?;
        let check = async {
            let Senders {
                viewer: raw_viewer,
                operator,
                agents,
            } = &mut senders;
            for subject in subjects::READ_REQUESTS {
                expect_reply(raw_viewer, Role::Viewer, subject, &block)?;
                checks += 1;
            }
            for subject in subjects::CHANGE_REQUESTS {
                expect_reply(operator, Role::Operator, subject, &block)?;
                checks += 1;
            }
            for subject in DiscoveryVerb::ALL
                .iter()
                .flat_map(|verb| verb.subjects("x"))
            {
                for reply in [None, Some(&b"_INBOX.viewer.unread"[..])] {
                    let message = RawMessage {
                        subject: subject.as_bytes(),
                        reply,
                        block: Some(&block),
                        payload: b"",
                    };
                    raw_viewer.send(&message.encode())?;
                    checks += 1;
                }
            }
            raw_viewer.flush()?;
            for channel in [
                AgentChannel::Heartbeat,
                AgentChannel::Results,
                AgentChannel::Progress,
            ] {
                let subject = channel.subject(&host);
                for reply in [
                    None,
                    Some(&b"_INBOX.\xff\xfe"[..]),
                    Some(b"_INBOX.a\xc2\xa0b"),
                ] {
                    let message = RawMessage {
                        subject: subject.as_bytes(),
                        reply,
                        block: Some(&block),
                        payload: b"{}",
                    };
                    agents.send(&message.encode())?;
                    checks += 1;
                }
            }
            agents.flush()?;
            expect_service(&cluster, &viewer, &mut agent).await
        };
        check.await.with_context(|| name.to_owned())?;
    }
    for (subject, reply) in [
        (&b"agent.\xff.heartbeat"[..], &b"_INBOX.x"[..]),
        (b"agent.worker\xc2\xa0a.results", b"_INBOX.x"),
        (b"agent.x.progress", b"_INBOX.\xff"),
    ] {
        let message = RawMessage {
            subject,
            reply: Some(reply),
            block: None,
            payload: b"{}",
        };
        senders.agents.send(&message.encode())?;
        senders.agents.flush()?;
        expect_service(&cluster, &viewer, &mut agent).await?;
        checks += 1;
    }
    let operations = cluster.operator.list_operations().await?;
    assert_eq!(operations.len(), 1);
    assert_eq!(operations[0].operation_id, accepted.operation_id);
    assert_eq!(
        cluster.operator.shard_states(&agent.host).await?,
        "decky-1 tearing_down"
    );
    let log = cluster.controllers[0].process().log();
    assert!(!log.contains("lost the NATS server"), "{log}");
    assert!(!log.contains("panicked"), "{log}");
    report_hostile_checks("malformed messages", checks)?;
    Ok(())
}
