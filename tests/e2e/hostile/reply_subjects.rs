//! Reply subjects that would make a reply appear where the requester itself may not publish: as a
//! broadcast, or in another client's inbox.

use anyhow::{Context, Result, ensure};
use futures_util::{FutureExt, StreamExt};
use scuttle_schemas::subjects;
use scuttle_tests::wait::with_timeout;
use scuttle_tests::{Client, Cluster, ProvisionedServer, Role, TestResult, report_hostile_checks};
use serde_json::{Value, json};

/// Checks that a reply to `requester` cannot become a broadcast for `reader`, who is in the same
/// account. `operator` enrolls the host `marker`, which is broadcast.
async fn check_broadcasts(
    requester: &Client,
    reader: &Client,
    operator: &Client,
    marker: &str,
) -> Result<usize> {
    let mut checks = 0;
    let mut subscriptions = Vec::new();
    for broadcast in subjects::BROADCASTS {
        subscriptions.push(reader.nats().subscribe(broadcast).await?);
    }
    reader.wait_until_ready().await?;
    for broadcast in subjects::BROADCASTS {
        for request in subjects::READ_REQUESTS.into_iter().chain(["$SRV.PING"]) {
            let nats = requester.nats();
            nats.publish_with_reply(request, broadcast, "{}".into())
                .await?;
            checks += 1;
        }
    }
    // The reply to this request is sent after the replies to the earlier requests.
    requester.wait_until_ready().await?;
    let host = operator.enroll(marker).await?.host.host_uuid;
    let mut hosts = subscriptions.swap_remove(1);
    loop {
        let message = with_timeout("the broadcast", hosts.next()).await?;
        let message: Value = serde_json::from_slice(&message.context("closed")?.payload)?;
        ensure!(message["type"] == "scuttle.v1.hosts_updated", "{message}");
        if message["updated"][0]["host_uuid"] == json!(host) {
            break;
        }
    }
    for subscription in &mut subscriptions {
        while let Some(Some(message)) = subscription.next().now_or_never() {
            let message: Value = serde_json::from_slice(&message.payload)?;
            ensure!(message["type"].is_string(), "not a broadcast: {message}");
        }
    }
    Ok(checks)
}

#[tokio::test]
async fn a_reply_cannot_become_a_broadcast_in_the_account_of_its_requester() -> TestResult {
    let cluster = Cluster::start().await?;
    for role in [Role::Viewer, Role::Operator] {
        let requester = cluster.connect(role).await?;
        let reader = cluster.connect(role).await?;
        let operator = cluster.connect(Role::Operator).await?;
        let checks = check_broadcasts(&requester, &reader, &operator, role.user()).await?;
        report_hostile_checks(&format!("reply subjects with nats.conf, {role}"), checks)?;
    }
    Ok(())
}

#[tokio::test]
async fn a_user_of_scuttle_init_cannot_reach_another_users_inbox() -> TestResult {
    let bus = ProvisionedServer::start().await?;
    let _controller = bus.start_controller().await?;
    let operator = bus.connect(&bus.credentials("admin")).await?;
    let vera = bus.connect(&bus.add_user("vera", "viewer").await?).await?;
    let victor = bus
        .connect(&bus.add_user("victor", "viewer").await?)
        .await?;
    let checks = check_broadcasts(&vera, &victor, &operator, "marker").await?;
    // Victor's inboxes have unpredictable names, and Vera cannot learn them.
    let denied = ["_INBOX.victor.>", "_INBOX.>", "_INBOX.*.*", "_DIVERTED.>"];
    for subject in denied {
        let _subscription = vera.nats().subscribe(subject).await?;
        vera.expect_denied(subject).await?;
    }
    report_hostile_checks("reply subjects with scuttle init", checks + denied.len())?;
    vera.wait_until_ready().await
}
