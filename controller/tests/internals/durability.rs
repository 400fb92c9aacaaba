//! The controller's warning about NATS servers that acknowledge messages before they are durable.

use std::collections::BTreeSet;

use scuttle_controller::nats::durability_check;
use scuttle_schemas::subjects;
use scuttle_tests::{Client, Nats, Role, TestResult};

/// Starts a server whose `nats.conf` was edited by `change`, checks it twice, and asserts each time
/// that the controller has warned about the servers in `expected`.
async fn check(change: impl FnOnce(&str) -> String, expected: &[&str]) -> TestResult {
    let named = |text: &str| format!("server_name: \"nats-a\"\n{}", change(text));
    let nats = Nats::start_with(named).await?;
    let options = nats.connect_options(Role::Controller);
    let options = options.custom_inbox_prefix(subjects::CONTROLLER_INBOX_PREFIX);
    let client = Client::connect_with(options, &nats.url()).await?;
    let mut warned = BTreeSet::new();
    for _ in 0..2 {
        durability_check::warn_if_not_durable(client.nats(), &mut warned).await;
        assert_eq!(warned.iter().collect::<Vec<_>>(), expected);
    }
    Ok(())
}

#[tokio::test]
async fn the_controller_warns_about_a_server_that_acknowledges_before_fsync() -> TestResult {
    check(str::to_owned, &[]).await?;
    let without_sync = |text: &str| text.replace("sync_interval: always", "sync_interval: \"10s\"");
    check(without_sync, &["nats-a"]).await
}
