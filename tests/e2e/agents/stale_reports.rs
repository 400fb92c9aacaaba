//! Reports out of order: what left before a teardown ended must not bring a shard back, not after a
//! controller's restart either.

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
};

/// What an answer to a stale report says; whether it asks for an inventory is not the matter here.
fn stale(answer: HeartbeatAccepted) -> HeartbeatAccepted {
    HeartbeatAccepted {
        send_inventory: false,
        ..answer
    }
}

/// A heartbeat that was observed before the end and comes after it is stale; one observed after the end is
/// a deployment anew.
#[tokio::test]
async fn a_heartbeat_from_before_the_end_brings_nothing_back() -> TestResult {
    let mut cluster = Cluster::start().await?;
    let mut agent = cluster
        .start_agent("worker-a", &["decky-1", "decky-2"])
        .await?;
    let accepted = cluster.operator.tear_down(&agent.host, "decky-1").await?;
    let before_the_end = agent.next_heartbeat(Some(reported_inventory(&["decky-1", "decky-2"])));
    agent
        .report_success(accepted.operation_id, &["decky-1"])
        .await?;

    assert_eq!(stale(agent.send(&before_the_end).await?), STALE);
    assert_eq!(
        cluster.operator.shard_states(&agent.host).await?,
        "decky-2 running"
    );
    cluster.crash_controller().await?;
    assert_eq!(
        stale(agent.send(&before_the_end).await?),
        STALE,
        "after a restart, too"
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

/// A lower sequence of the same boot is stale and changes nothing.
#[tokio::test]
async fn an_older_heartbeat_changes_nothing() -> TestResult {
    let mut cluster = Cluster::start().await?;
    let mut agent = cluster.start_agent("worker-a", &["decky-1"]).await?;
    let late = agent.next_heartbeat(Some(reported_inventory(&["ghost"])));
    agent.report_inventory(&["decky-1", "decky-2"]).await?;
    let before = cluster.operator.list_shards().await?;
    assert_eq!(stale(agent.send(&late).await?), STALE);
    assert_eq!(
        cluster.operator.list_shards().await?,
        before,
        "not even last_seen"
    );

    cluster.crash_controller().await?;
    assert_eq!(stale(agent.send(&late).await?), STALE);
    assert_eq!(
        cluster.operator.shard_states(&agent.host).await?,
        "decky-1 running, decky-2 running"
    );
    Ok(())
}

/// A report of an older boot is stale, however high its sequence, also after a controller's restart.
#[tokio::test]
async fn an_older_boot_changes_nothing() -> TestResult {
    let mut cluster = Cluster::start().await?;
    let mut agent = cluster.start_agent("worker-a", &["decky-1"]).await?;
    let mut late = agent.next_heartbeat(Some(reported_inventory(&["ghost"])));
    late.sequence = 1_000_000;
    agent.reboot();
    let answer = agent.report_inventory(&["decky-1", "decky-2"]).await?;
    assert!(!answer.stale, "a later boot counts from one again");
    assert_eq!(stale(agent.send(&late).await?), STALE);
    cluster.crash_controller().await?;
    assert_eq!(stale(agent.send(&late).await?), STALE);
    assert_eq!(
        cluster.operator.shard_states(&agent.host).await?,
        "decky-1 running, decky-2 running"
    );
    Ok(())
}

/// A teardown that an older boot reports still counts, for a result is the truth about its operation; but
/// it does not turn the clock back: the later boot's reports are not stale.
#[tokio::test]
async fn an_older_boots_result_counts() -> TestResult {
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

/// The first report of a boot that sorts before the known one is an old machine's: nothing of it counts.
#[tokio::test]
async fn a_boot_from_long_ago_is_stale() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut agent = cluster.start_agent("worker-a", &["decky-1"]).await?;
    let mut old = agent.next_heartbeat(Some(reported_inventory(&["ghost"])));
    let long_ago = uuid::Timestamp::from_unix_time(1_600_000_000, 0, 0, 0);
    old.boot_id = BootId(Uuid::new_v7(long_ago));
    assert_eq!(stale(agent.send(&old).await?), STALE);
    let shard = cluster
        .operator
        .find_shard(&agent.host, "decky-1")
        .await?
        .context("the shard")?;
    assert_eq!(shard.last_error, None);
    Ok(())
}
