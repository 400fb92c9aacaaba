//! The buckets of a shared journal are deleted while controllers run, or another program writes to
//! the journal. The controllers continue without a restart.

use scuttle_schemas::{Partition, subjects};
use scuttle_tests::{Cluster, TestResult, wait_until};

use super::lost_journal::{add_maintenance_user, connect_for_maintenance, journal};

async fn start() -> anyhow::Result<Cluster> {
    let builder = Cluster::builder().servers(1).controllers(2);
    builder.nats_conf(add_maintenance_user).start().await
}

#[tokio::test]
async fn deleted_buckets_are_created_again() -> TestResult {
    let mut cluster = start().await?;
    let agent = cluster.start_agent("worker-a", &["decky-1"]).await?;
    let maintenance = connect_for_maintenance(&cluster).await?;
    let leases = format!("KV_{}", subjects::LEASES_BUCKET);
    let snapshots = format!("OBJ_{}", subjects::SNAPSHOTS_BUCKET);
    for bucket in [&leases, &snapshots] {
        maintenance.delete_stream(bucket).await?;
        let find = || maintenance.get_stream(bucket);
        wait_until("the bucket exists again", find, |_| true).await?;
    }
    // The leader loses its lease with the bucket, so a request may be rejected meanwhile.
    let request = || cluster.operator.tear_down(&agent.host, "decky-1");
    let accepted = wait_until("the teardown is accepted", request, |_| true).await?;
    cluster.operator.operation(accepted.operation_id).await?;
    for controller in &mut cluster.controllers {
        controller.process().ensure_running()?;
    }
    Ok(())
}

#[tokio::test]
async fn a_foreign_message_in_the_journal_is_skipped_and_reported() -> TestResult {
    let mut cluster = start().await?;
    let agent = cluster
        .start_agent("worker-a", &["decky-1", "decky-2"])
        .await?;
    let first = cluster.operator.tear_down(&agent.host, "decky-1").await?;
    let leader = cluster.wait_for_leader().await?;
    let maintenance = connect_for_maintenance(&cluster).await?;
    let subject = subjects::journal_subject(Partition::FIRST);
    for payload in ["", "{\"not\": \"ours\"}"] {
        let published = maintenance.publish(subject.clone(), payload.into()).await?;
        published.await?;
    }
    // The leader continues in the same term.
    let second = cluster.operator.tear_down(&agent.host, "decky-2").await?;
    let log = cluster.controllers[leader].process().log();
    assert!(!log.contains("stepped down"), "{log}");
    let mut reports = Vec::new();
    for controller in &mut cluster.controllers {
        let line = controller
            .process()
            .wait_for_line("skipped message")
            .await?;
        assert!(line.contains(&journal()), "{line}");
        reports.push(controller.http().await?);
    }
    for http in reports {
        http.wait_for_texts("/metrics", &["scuttle_journal_foreign_messages 2"])
            .await?;
    }
    // A start reads the journal again.
    for controller in &mut cluster.controllers {
        controller.restart().await?;
    }
    cluster.wait_for_leader().await?;
    for operation in [first, second] {
        cluster.operator.operation(operation.operation_id).await?;
    }
    Ok(())
}
