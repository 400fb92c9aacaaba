//! The notes in heartbeats and the evidence in results: the record keeps them across a crash.

use scuttle_schemas::Note;
use scuttle_schemas::agents::{Evidence, Heartbeat, ProgressStep, ShardResult};
use scuttle_tests::{Cluster, TestResult, failed_shard, removed_shard, wait_until};

#[tokio::test]
async fn the_record_of_a_host_has_the_notes_of_its_last_heartbeat() -> TestResult {
    let mut cluster = Cluster::start().await?;
    let mut agent = cluster.start_agent("worker-a", &["decky-1"]).await?;
    let notes = vec![
        Note::from("project trap2 has containers without the label scuttle.managed"),
        Note::from("network decnet_lan could not be removed"),
    ];
    let heartbeat = Heartbeat {
        notes: notes.clone(),
        ..agent.next_heartbeat(None)
    };
    agent.send(&heartbeat).await?;
    assert_eq!(cluster.operator.host(&agent.host).await?.notes, notes);
    cluster.crash_controller().await?;
    assert_eq!(cluster.operator.host(&agent.host).await?.notes, notes);

    // Only the first page of an inventory has notes.
    let mut pages = agent.next_inventory_pages(&[&["decky-1"], &["decky-2"]]);
    pages[0].notes.clone_from(&notes);
    for page in &pages {
        agent.send(page).await?;
    }
    assert_eq!(cluster.operator.host(&agent.host).await?.notes, notes);
    agent.send_heartbeat().await?;
    assert_eq!(cluster.operator.host(&agent.host).await?.notes, []);
    Ok(())
}

#[tokio::test]
async fn an_operation_shows_the_evidence_of_its_result() -> TestResult {
    let mut cluster = Cluster::start().await?;
    let mut agent = cluster
        .start_agent("worker-a", &["decky-1", "decky-2"])
        .await?;
    let accepted = cluster.operator.tear_down(&agent.host, None).await?;
    let operation = agent.next_command().await?.operation_id;
    agent
        .publish_progress(operation, ProgressStep::SavingEvidence)
        .await?;
    let running = || cluster.operator.operation(operation);
    wait_until("the step is shown", running, |running| {
        let waiting = running.waiting_for.as_ref();
        waiting.is_some_and(|waiting| waiting.detail.contains("saving_evidence"))
    })
    .await?;
    let evidence = Evidence {
        path: "/var/lib/scuttle-agent/evidence/decky-1.tar.zst".to_owned(),
        bytes: 18_211,
        sha256: "0f".repeat(32),
    };
    let shards = vec![
        ShardResult {
            evidence: Some(evidence.clone()),
            ..removed_shard("decky-1")
        },
        failed_shard("decky-2", "cannot save the evidence: no space left"),
    ];
    agent
        .report_failure(operation, "1 of 2 deckies was not removed", shards)
        .await?;
    cluster.crash_controller().await?;
    let record = cluster.operator.operation(accepted.operation_id).await?;
    let shards = record.shards.expect("the shards");
    let shown: Vec<_> = shards
        .iter()
        .map(|shard| (shard.decky_id.as_str(), shard.evidence.as_ref()))
        .collect();
    assert_eq!(shown, [("decky-2", None), ("decky-1", Some(&evidence))]);
    Ok(())
}
