//! Reports that arrive out of order. A report that was sent before a teardown ended must not bring
//! a shard back, not even after a restart of the controller.

use anyhow::Context;
use scuttle_schemas::BootId;
use scuttle_schemas::agents::HeartbeatAccepted;
use scuttle_tests::clients::fake_agent::reported_inventory;
use scuttle_tests::{Cluster, TestResult, removed_shard};
use uuid::Uuid;

const STALE: HeartbeatAccepted = HeartbeatAccepted {
    accepted: true,
    send_inventory: false,
    stale: true,
    other_agent: None,
};

/// Clears `send_inventory` and `other_agent`, because these tests do not check these fields of the
/// reply.
fn clear_details(reply: HeartbeatAccepted) -> HeartbeatAccepted {
    HeartbeatAccepted {
        send_inventory: false,
        other_agent: None,
        ..reply
    }
}

/// A heartbeat that was created before a teardown ended is stale if it arrives afterwards. A later
/// heartbeat that lists the decky reports a new deployment.
#[tokio::test]
async fn a_heartbeat_from_before_the_end_of_a_teardown_restores_no_shard() -> TestResult {
    let mut cluster = Cluster::start().await?;
    let mut agent = cluster
        .start_agent("worker-a", &["decky-1", "decky-2"])
        .await?;
    let accepted = cluster.operator.tear_down(&agent.host, "decky-1").await?;
    let before_the_end = agent.next_heartbeat(Some(reported_inventory(&["decky-1", "decky-2"])));
    agent
        .report_success(accepted.operation_id, &["decky-1"])
        .await?;

    assert_eq!(clear_details(agent.send(&before_the_end).await?), STALE);
    assert_eq!(
        cluster.operator.shard_states(&agent.host).await?,
        "decky-2 running"
    );
    cluster.crash_controller().await?;
    assert_eq!(
        clear_details(agent.send(&before_the_end).await?),
        STALE,
        "the report is stale after a restart, too"
    );
    assert_eq!(
        cluster.operator.shard_states(&agent.host).await?,
        "decky-2 running"
    );

    agent.report_inventory(&["decky-1", "decky-2"]).await?;
    assert_eq!(
        cluster.operator.shard_states(&agent.host).await?,
        "decky-1 running, decky-2 running"
    );
    Ok(())
}

/// A report from the same boot with a lower sequence number is stale and changes nothing.
#[tokio::test]
async fn a_heartbeat_with_a_lower_sequence_changes_nothing() -> TestResult {
    let mut cluster = Cluster::start().await?;
    let mut agent = cluster.start_agent("worker-a", &["decky-1"]).await?;
    let late_heartbeat = agent.next_heartbeat(Some(reported_inventory(&["ghost"])));
    agent.report_inventory(&["decky-1", "decky-2"]).await?;
    let before = cluster.operator.list_shards().await?;
    assert_eq!(clear_details(agent.send(&late_heartbeat).await?), STALE);
    assert_eq!(
        cluster.operator.list_shards().await?,
        before,
        "a stale report changes nothing, not even last_seen"
    );

    cluster.crash_controller().await?;
    assert_eq!(clear_details(agent.send(&late_heartbeat).await?), STALE);
    assert_eq!(
        cluster.operator.shard_states(&agent.host).await?,
        "decky-1 running, decky-2 running"
    );
    Ok(())
}

/// A report from an older boot is stale, no matter how high its sequence number is, and stays stale
/// after the controller restarts.
#[tokio::test]
async fn a_heartbeat_of_an_older_boot_changes_nothing() -> TestResult {
    let mut cluster = Cluster::start().await?;
    let mut agent = cluster.start_agent("worker-a", &["decky-1"]).await?;
    let mut late_heartbeat = agent.next_heartbeat(Some(reported_inventory(&["ghost"])));
    late_heartbeat.sequence = 1_000_000;
    agent.reboot();
    let reply = agent.report_inventory(&["decky-1", "decky-2"]).await?;
    assert!(
        !reply.stale,
        "a later boot starts its sequence at one again"
    );
    assert_eq!(clear_details(agent.send(&late_heartbeat).await?), STALE);
    cluster.crash_controller().await?;
    assert_eq!(clear_details(agent.send(&late_heartbeat).await?), STALE);
    assert_eq!(
        cluster.operator.shard_states(&agent.host).await?,
        "decky-1 running, decky-2 running"
    );
    Ok(())
}

/// A result from an older boot still counts, because only the agent knows how the operation ended.
/// The result does not make the older boot the current one: reports from the later boot are not
/// stale.
#[tokio::test]
async fn a_result_of_an_older_boot_is_recorded() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut agent = cluster
        .start_agent("worker-a", &["decky-1", "decky-2"])
        .await?;
    let accepted = cluster.operator.tear_down(&agent.host, "decky-1").await?;
    let result = agent.next_success(accepted.operation_id, vec![removed_shard("decky-1")]);
    agent.reboot();
    agent.report_inventory(&["decky-2"]).await?;
    assert!(agent.send_result(&result).await?.recorded);
    assert_eq!(
        cluster.operator.shard_states(&agent.host).await?,
        "decky-2 running"
    );
    let operation = cluster.operator.operation(accepted.operation_id).await?;
    assert!(operation.finished_at.is_some(), "{operation:?}");
    assert!(!agent.report_inventory(&["decky-2"]).await?.stale);
    Ok(())
}

/// A report from an unknown boot is stale if the boot's id sorts before the id of the current boot.
#[tokio::test]
async fn the_first_heartbeat_of_an_earlier_boot_is_stale() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut agent = cluster.start_agent("worker-a", &["decky-1"]).await?;
    let mut old_heartbeat = agent.next_heartbeat(Some(reported_inventory(&["ghost"])));
    let long_ago = uuid::Timestamp::from_unix_time(1_600_000_000, 0, 0, 0);
    old_heartbeat.boot_id = BootId(Uuid::new_v7(long_ago));
    assert_eq!(clear_details(agent.send(&old_heartbeat).await?), STALE);
    let shard = cluster
        .operator
        .find_shard(&agent.host, "decky-1")
        .await?
        .context("the shard")?;
    assert_eq!(shard.last_error, None);
    Ok(())
}
