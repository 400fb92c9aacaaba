//! `shards.updated`, `hosts.updated` and `operations.updated`: revisions, message sizes, the repeat
//! of the last revision when nothing changes, and the view that a subscriber builds from the
//! broadcasts.

use std::collections::BTreeMap;

use anyhow::Context;
use scuttle_schemas::hosts::{HostRecord, HostsList, HostsUpdated};
use scuttle_schemas::operations::{OperationsList, OperationsUpdated};
use scuttle_schemas::shards::{ShardState, ShardsUpdated};
use scuttle_schemas::{MAX_BROADCAST_BYTES, MAX_HEARTBEAT_BYTES, subjects};
use scuttle_tests::clients::broadcasts::Broadcast;
use scuttle_tests::clients::replica_view::clear_last_seen;
use scuttle_tests::{
    Broadcasts, Client, Cluster, FakeAgent, ReplicaView, Role, TestResult, failed_shard,
};
use serde_json::json;

/// The maximum number of `hosts.updated` messages until the broadcast records match the listed
/// records. An idle subject carries one message every 5 s.
const MAX_LATE_MESSAGES: usize = 200;

/// Causes changes on all hosts: inventories, teardowns of single deckies and of whole hosts,
/// successes and failures.
async fn cause_changes(cluster: &Cluster, agents: &mut [FakeAgent]) -> TestResult {
    let deckies = ["decky-1", "decky-2", "decky-3", "decky-4", "decky-5"];
    for (number, agent) in agents.iter_mut().enumerate() {
        agent.report_inventory(&deckies).await?;
        let is_host_teardown = number % 2 == 0;
        let target = (!is_host_teardown).then_some("decky-3");
        let accepted = cluster.operator.tear_down(&agent.host, target).await?;
        match number % 3 {
            0 => {
                agent
                    .report_success(accepted.operation_id, &["decky-3"])
                    .await?;
            }
            1 => {
                let shards = vec![failed_shard("decky-3", "busy")];
                agent
                    .report_failure(accepted.operation_id, "busy", shards)
                    .await?;
            }
            _ => {}
        }
        agent.report_inventory(&deckies[number % 5..]).await?;
    }
    Ok(())
}

async fn start_agents(cluster: &Cluster) -> anyhow::Result<Vec<FakeAgent>> {
    let mut agents = Vec::new();
    for number in 0..12 {
        let deckies = ["decky-1", "decky-2", "decky-3"];
        agents.push(
            cluster
                .start_agent(&format!("worker-{number}"), &deckies)
                .await?,
        );
    }
    Ok(agents)
}

/// The subscriber requests the list only once. After that, it follows the broadcasts.
#[tokio::test]
async fn a_subscriber_keeps_an_exact_view() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut agents = start_agents(&cluster).await?;
    let mut view = ReplicaView::open(&cluster.operator, 7).await?;
    cause_changes(&cluster, &mut agents).await?;
    let (revision, shards) = cluster.operator.list_shards_paged(1000).await?;
    view.follow_until(revision).await?;
    assert_eq!(clear_last_seen(view.shards()), clear_last_seen(shards));
    assert_eq!(view.listings(), 1);
    Ok(())
}

/// The subscriber reads the list in pages of one shard each while the record changes.
#[tokio::test]
async fn a_view_that_is_opened_during_changes_is_exact() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut agents = start_agents(&cluster).await?;
    let (changes, view) = tokio::join!(
        cause_changes(&cluster, &mut agents),
        ReplicaView::open(&cluster.operator, 1)
    );
    changes?;
    let mut view = view?;
    let (revision, shards) = cluster.operator.list_shards_paged(1000).await?;
    view.follow_until(revision).await?;
    assert_eq!(clear_last_seen(view.shards()), clear_last_seen(shards));
    Ok(())
}

#[tokio::test]
async fn a_subscriber_that_loses_a_message_lists_again() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut agents = start_agents(&cluster).await?;
    let mut view = ReplicaView::open(&cluster.operator, 7).await?;
    cause_changes(&cluster, &mut agents).await?;
    view.drop_next_change().await?;
    let (revision, shards) = cluster.operator.list_shards_paged(1000).await?;
    view.follow_until(revision).await?;
    assert_eq!(clear_last_seen(view.shards()), clear_last_seen(shards));
    assert_eq!(view.listings(), 2);
    Ok(())
}

/// Revisions continue after the controller is killed (SIGKILL). If the crash kept a broadcast from
/// being sent, the next broadcast shows a gap.
#[tokio::test]
async fn a_view_stays_exact_when_the_controller_is_killed() -> TestResult {
    let mut cluster = Cluster::start().await?;
    let mut agents = start_agents(&cluster).await?;
    let viewer = Client::connect(&cluster.servers[0], Role::Viewer).await?;
    let mut view = ReplicaView::open(&viewer, 100).await?;
    let mut last = 0;
    for _ in 0..3 {
        cause_changes(&cluster, &mut agents).await?;
        let (before, _) = cluster.operator.list_shards_paged(10).await?;
        cluster.crash_controller().await?;
        let (after, _) = cluster.operator.list_shards_paged(10).await?;
        assert!(
            after >= before && before > last,
            "{last}, {before}, {after}"
        );
        last = after;
    }
    cause_changes(&cluster, &mut agents).await?;
    let (revision, shards) = cluster.operator.list_shards_paged(1000).await?;
    view.follow_until(revision).await?;
    assert_eq!(clear_last_seen(view.shards()), clear_last_seen(shards));
    Ok(())
}

/// Each shard record in a broadcast has the revision of the broadcast.
#[tokio::test]
async fn revisions_of_each_broadcast_subject_are_consecutive() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut shards = Broadcasts::<ShardsUpdated>::subscribe(&cluster.operator).await?;
    let mut hosts = Broadcasts::<HostsUpdated>::subscribe(&cluster.operator).await?;
    let mut operations = Broadcasts::<OperationsUpdated>::subscribe(&cluster.operator).await?;
    let mut agents = start_agents(&cluster).await?;
    cause_changes(&cluster, &mut agents).await?;

    let (revision, _) = cluster.operator.list_shards_paged(1).await?;
    let all = shards.collect_up_to(revision).await?;
    assert!(all.len() > 12, "{}", all.len());
    for update in all.iter().map(|update| &update.message) {
        assert!(
            update
                .updated
                .iter()
                .all(|record| record.revision == update.revision),
            "{update:?}"
        );
        assert!(
            update
                .removed
                .iter()
                .all(|removed| removed.revision == update.revision),
            "{update:?}"
        );
    }
    let request = json!({ "limit": 1 });
    let page: OperationsList = cluster
        .operator
        .request(subjects::OPERATIONS_LIST, &request)
        .await?;
    let all = operations.collect_up_to(page.revision).await?;
    assert!(all.len() >= agents.len(), "{}", all.len());
    let records = all.iter().flat_map(|update| &update.message.updated);
    assert!(
        records.clone().all(|record| record.shards.is_none()),
        "no shards in broadcasts"
    );
    let page: HostsList = cluster
        .operator
        .request(subjects::HOSTS_LIST, &request)
        .await?;
    let all = hosts.collect_up_to(page.revision).await?;
    assert!(all.len() >= agents.len(), "{}", all.len());
    Ok(())
}

#[tokio::test]
async fn the_last_broadcast_record_equals_the_listed_record() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut hosts = Broadcasts::<HostsUpdated>::subscribe(&cluster.operator).await?;
    let mut operations = Broadcasts::<OperationsUpdated>::subscribe(&cluster.operator).await?;
    let mut agents = start_agents(&cluster).await?;
    cause_changes(&cluster, &mut agents).await?;

    let request = json!({ "limit": 1000 });
    let page: OperationsList = cluster
        .operator
        .request(subjects::OPERATIONS_LIST, &request)
        .await?;
    let mut last = BTreeMap::new();
    for update in operations.collect_up_to(page.revision).await? {
        last.extend(
            update
                .message
                .updated
                .into_iter()
                .map(|one| (one.operation_id, one)),
        );
    }
    assert_eq!(last.len(), page.operations.len());
    for listed in page.operations {
        let mut update = last
            .remove(&listed.operation_id)
            .context("the record was never broadcast")?;
        // Retries are not broadcast.
        update.attempts = listed.attempts;
        update.waiting_for.clone_from(&listed.waiting_for);
        assert_eq!(update, listed);
    }

    // The counters of hosts are announced late.
    let mut last = BTreeMap::new();
    for _ in 0..MAX_LATE_MESSAGES {
        let update = hosts.next().await?.message;
        let records = update.updated.into_iter();
        last.extend(records.map(|one| (one.host_uuid.clone(), one)));
        let page: HostsList = cluster
            .operator
            .request(subjects::HOSTS_LIST, &request)
            .await?;
        let is_equal = |listed: &HostRecord| {
            last.get(&listed.host_uuid).is_some_and(|update| {
                let last_heartbeat = listed.last_heartbeat;
                let update = HostRecord {
                    last_heartbeat,
                    ..update.clone()
                };
                update == *listed
            })
        };
        if page.hosts.len() == last.len() && page.hosts.iter().all(is_equal) {
            return Ok(());
        }
    }
    panic!("the hosts as broadcast differ from the list: {last:?}")
}

/// The message that repeats the revision contains no changes, and the next change has the next
/// revision.
#[tokio::test]
async fn the_last_revision_is_repeated_after_five_seconds_without_a_change() -> TestResult {
    async fn wait_for_repeat<T: Broadcast>(
        updates: &mut Broadcasts<T>,
    ) -> anyhow::Result<(u64, u64)> {
        let mut last = None;
        loop {
            let next = updates.next().await?.message;
            if next.is_repeat() {
                return Ok((last.context("a change came first")?, next.revision()));
            }
            last = Some(next.revision());
        }
    }
    let cluster = Cluster::start().await?;
    let mut shards = Broadcasts::<ShardsUpdated>::subscribe(&cluster.operator).await?;
    let mut hosts = Broadcasts::<HostsUpdated>::subscribe(&cluster.operator).await?;
    let mut operations = Broadcasts::<OperationsUpdated>::subscribe(&cluster.operator).await?;
    let mut agent = cluster.start_agent("worker-a", &["decky-1"]).await?;
    let accepted = cluster.operator.tear_down(&agent.host, "decky-1").await?;
    agent
        .report_success(accepted.operation_id, &["decky-1"])
        .await?;

    let repeats = tokio::join!(
        wait_for_repeat(&mut shards),
        wait_for_repeat(&mut hosts),
        wait_for_repeat(&mut operations)
    );
    for (last, repeated) in [repeats.0?, repeats.1?, repeats.2?] {
        assert_eq!(repeated, last);
    }
    let (revision, _) = cluster.operator.list_shards_paged(1).await?;
    agent.report_inventory(&["decky-1"]).await?;
    let next = shards
        .wait_for("a change", |update| !update.is_repeat())
        .await?
        .message;
    assert_eq!(next.revision, revision + 1);
    Ok(())
}

/// The largest possible host is torn down. Its inventory is sent in pages, each broadcast is at
/// most 256 KiB long, and the result of the teardown removes all shards of the host from the
/// record.
#[tokio::test]
async fn a_large_change_is_broadcast_in_several_messages() -> TestResult {
    let cluster = Cluster::start().await?;
    let names: Vec<String> = (0..4096)
        .map(|number| format!("decky-{number:04}"))
        .collect();
    let pages: Vec<Vec<&str>> = names
        .chunks(1024)
        .map(|page| page.iter().map(String::as_str).collect())
        .collect();
    let pages: Vec<&[&str]> = pages.iter().map(Vec::as_slice).collect();
    let mut agent = cluster.start_agent("worker-a", &[]).await?;
    for page in agent.next_inventory_pages(&pages) {
        assert!(serde_json::to_vec(&page)?.len() <= MAX_HEARTBEAT_BYTES);
        agent.send(&page).await?;
    }
    let mut updates = Broadcasts::<ShardsUpdated>::subscribe(&cluster.operator).await?;
    let (before, _) = cluster.operator.list_shards_paged(1000).await?;
    let accepted = cluster.operator.tear_down(&agent.host, None).await?;
    assert_eq!(accepted.shards, 4096);
    let (revision, shards) = cluster.operator.list_shards_paged(1000).await?;
    assert_eq!(shards.len(), 4096);
    assert!(
        shards
            .iter()
            .all(|shard| shard.state == ShardState::TearingDown)
    );
    let mut update = updates.collect_up_to(revision).await?;
    update.retain(|update| update.message.revision > before);
    assert!(update.len() > 1, "{}", update.len());
    assert!(
        update
            .iter()
            .all(|update| update.length <= MAX_BROADCAST_BYTES)
    );
    assert!(
        update
            .iter()
            .all(|update| update.message.operation_id == Some(accepted.operation_id))
    );
    assert_eq!(
        update
            .iter()
            .map(|update| update.message.updated.len())
            .sum::<usize>(),
        4096
    );

    agent.report_success(accepted.operation_id, &[]).await?;
    let (revision, shards) = cluster.operator.list_shards_paged(1000).await?;
    assert_eq!(shards, []);
    let update = updates.collect_up_to(revision).await?;
    assert!(
        update
            .iter()
            .all(|update| update.length <= MAX_BROADCAST_BYTES)
    );
    assert_eq!(
        update
            .iter()
            .map(|update| update.message.removed.len())
            .sum::<usize>(),
        4096
    );
    let operation = cluster.operator.operation(accepted.operation_id).await?;
    assert_eq!(operation.counts.absent, 4096);
    assert_eq!(
        operation.shards.map(|shards| shards.len()),
        Some(1000),
        "at most 1,000"
    );
    Ok(())
}
