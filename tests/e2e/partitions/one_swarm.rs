//! Clients see one swarm: lists, broadcasts and replies do not depend on the partition of a host.

use std::time::Duration;

use anyhow::ensure;
use async_nats::HeaderMap;
use futures_util::StreamExt;
use scuttle_schemas::operations::{OperationRecord, OperationState, OperationsList};
use scuttle_schemas::shards::{ShardRecord, ShardsList, ShardsUpdated};
use scuttle_schemas::subjects::AgentChannel;
use scuttle_schemas::teardown::TeardownAccepted;
use scuttle_schemas::{ErrorCode, OperationId, subjects};
use scuttle_tests::clients::broadcasts::{Broadcast, Broadcasts};
use scuttle_tests::clients::replica_view::{ReplicaView, clear_revisions};
use scuttle_tests::{FakeAgent, RequestError, TestResult};
use serde_json::{Value, json};

use super::{host_ids_in, one_host_per_partition, partition_count, start_cluster};

#[tokio::test]
async fn lists_contain_all_partitions_in_order() -> TestResult {
    let cluster = start_cluster(2).await?;
    let mut agents = Vec::new();
    for host in partition_count()
        .iter()
        .flat_map(|partition| host_ids_in(partition).take(3))
    {
        agents.push(
            cluster
                .start_agent_with_id(&host, &["d1", "d2", "d3"])
                .await?,
        );
    }
    let mut hosts: Vec<_> = agents.iter().map(|agent| agent.host.clone()).collect();
    hosts.sort();
    let listed: Vec<_> = cluster.operator.list_hosts().await?.into_keys().collect();
    assert_eq!(listed, hosts);

    let complete = cluster.operator.list_shards().await?;
    assert_eq!(complete.len(), 36);
    for limit in [1, 5, 36, 37] {
        let (_, shards) = cluster.operator.list_shards_paged(limit).await?;
        let keys = |shards: &[ShardRecord]| {
            let keys = shards
                .iter()
                .map(|shard| (shard.host_uuid.clone(), shard.decky_id.clone()));
            keys.collect::<Vec<_>>()
        };
        assert_eq!(keys(&shards), keys(&complete), "in pages of {limit}");
        assert!(keys(&shards).is_sorted());
    }
    let of_one = json!({ "host_uuid": hosts[5] });
    let page: ShardsList = cluster
        .operator
        .request(subjects::SHARDS_LIST, &of_one)
        .await?;
    assert_eq!((page.shards.len(), page.next), (3, None));

    // Operations are listed newest first, across the partitions.
    let mut accepted = Vec::new();
    for agent in &agents {
        accepted.push(
            cluster
                .operator
                .tear_down(&agent.host, "d1")
                .await?
                .operation_id,
        );
    }
    accepted.sort();
    accepted.reverse();
    let operations = cluster.operator.list_operations().await?;
    let ids: Vec<OperationId> = operations.iter().map(|one| one.operation_id).collect();
    assert_eq!(ids, accepted);
    let mut paged = Vec::new();
    let mut after = None;
    loop {
        let request = json!({ "limit": 5, "after": after });
        let page: OperationsList = cluster
            .operator
            .request(subjects::OPERATIONS_LIST, &request)
            .await?;
        paged.extend(
            page.operations
                .iter()
                .map(|one: &OperationRecord| one.operation_id),
        );
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(paged, accepted);
    Ok(())
}

#[tokio::test]
async fn requests_about_a_host_of_any_partition_are_executed() -> TestResult {
    let cluster = start_cluster(2).await?;
    for host in one_host_per_partition() {
        let mut agent = cluster.start_agent_with_id(&host, &["d1", "d2"]).await?;
        let accepted = cluster.operator.tear_down(&host, "d1").await?;
        assert_eq!(
            agent.next_command().await?.operation_id,
            accepted.operation_id
        );
        agent.report_success(accepted.operation_id, &["d1"]).await?;
        let ended = cluster.operator.wait_for_end(accepted.operation_id).await?;
        assert_eq!(ended.state, OperationState::Succeeded);
        assert_eq!(cluster.operator.shard_states(&host).await?, "d2 running");

        let subject = subjects::host_teardown_subject(&host);
        let body = json!({ "decky_id": "d2" });
        let accepted: TeardownAccepted = cluster.operator.request(&subject, &body).await?;
        let id = json!({ "operation_id": accepted.operation_id });
        let reply: Value = cluster
            .operator
            .request(subjects::OPERATIONS_CANCEL, &id)
            .await?;
        assert_eq!(reply["operation"]["state"], "cancelled");

        for protected in [true, false] {
            let request = json!({ "host_uuid": host, "decky_id": "d2", "protected": protected });
            let reply: Value = cluster
                .operator
                .request(subjects::SHARDS_PROTECT, &request)
                .await?;
            assert_eq!(reply["protected"], protected);
            let shard = cluster.operator.find_shard(&host, "d2").await?;
            assert_eq!(shard.map(|shard| shard.protected), Some(protected));
        }

        let request = json!({ "host_uuid": host, "force": true });
        let removal: Value = cluster
            .operator
            .request(subjects::HOSTS_DECOMMISSION, &request)
            .await?;
        assert_eq!(removal["accepted"], true);
    }
    Ok(())
}

/// Even a request that cannot be parsed, or that is about an unknown host or operation, gets
/// exactly one reply.
#[tokio::test]
async fn every_request_gets_exactly_one_reply() -> TestResult {
    let cluster = start_cluster(2).await?;
    let nats = cluster.operator.nats();
    let mut requests = vec![
        (
            subjects::TEARDOWN,
            "no JSON".to_owned(),
            ErrorCode::BadRequest,
        ),
        (
            subjects::HOSTS_LIST,
            "no JSON".to_owned(),
            ErrorCode::BadRequest,
        ),
        (
            subjects::HOSTS_ENROLL,
            "{}".to_owned(),
            ErrorCode::BadRequest,
        ),
    ];
    for host in one_host_per_partition() {
        // The host is found however its id is written, and whether or not the rest of the request
        // is valid.
        let spaced = format!("{{ \"host_uuid\" : \"{host}\" }}");
        requests.push((subjects::TEARDOWN, spaced, ErrorCode::HostNotFound));
        let escaped = format!(
            "{{\"host_uuid\":\"{}\"}}",
            host.as_str().replace('o', "\\u006f")
        );
        requests.push((subjects::TEARDOWN, escaped, ErrorCode::HostNotFound));
        let unknown = json!({ "host_uuid": host, "oops": 1 }).to_string();
        requests.push((subjects::TEARDOWN, unknown, ErrorCode::BadRequest));
        let absent = json!({ "host_uuid": host }).to_string();
        requests.push((subjects::TEARDOWN, absent.clone(), ErrorCode::HostNotFound));
        requests.push((
            subjects::HOSTS_DECOMMISSION,
            absent,
            ErrorCode::HostNotFound,
        ));
        let id = OperationId::new_for_host(uuid::Uuid::now_v7(), &host);
        let absent = json!({ "operation_id": id }).to_string();
        for subject in [subjects::OPERATIONS_CANCEL, subjects::OPERATIONS_GET] {
            requests.push((subject, absent.clone(), ErrorCode::OperationNotFound));
        }
    }
    for (subject, request, code) in requests {
        let inbox = nats.new_inbox();
        let mut replies = nats.subscribe(inbox.clone()).await?;
        nats.publish_with_reply(subject, inbox, request.clone().into())
            .await?;
        let reply = tokio::time::timeout(Duration::from_secs(10), replies.next()).await?;
        let reply = reply.map(|reply| scuttle_tests::clients::client::parse_reply::<Value>(&reply));
        let rejection = match reply {
            Some(Err(RequestError::Rejected(rejection))) => Some(rejection.code),
            _ => None,
        };
        assert_eq!(rejection, Some(code), "{subject} {request}");
        // A second reply of another leader would arrive before the reply to a later list, which
        // needs all leaders.
        cluster.wait_until_partitions_are_led().await?;
        let second = tokio::time::timeout(Duration::ZERO, replies.next()).await;
        ensure!(second.is_err(), "{subject} {request} has two replies");
    }
    let empty = cluster
        .operator
        .request_raw(subjects::OPERATIONS_LIST, HeaderMap::new(), "{}")
        .await?;
    assert_eq!(
        serde_json::from_slice::<OperationsList>(&empty.payload)?.operations,
        []
    );
    Ok(())
}

/// The leader of the host's partition rejects the report. Without a reply, the agent would wait.
#[tokio::test]
async fn a_report_that_cannot_be_parsed_is_rejected() -> TestResult {
    let cluster = start_cluster(2).await?;
    for host in one_host_per_partition() {
        let agent = FakeAgent::connect(&cluster.servers[0], &host).await?;
        for channel in [AgentChannel::Heartbeat, AgentChannel::Results] {
            let subject = channel.subject(&host);
            let reply = agent.client().request::<Value>(&subject, &json!({})).await;
            let rejection = matches!(&reply, Err(RequestError::Rejected(why)) if why.code == ErrorCode::BadRequest);
            assert!(rejection, "{subject}: {reply:?}");
        }
    }
    Ok(())
}

/// The revisions of `shards.updated` are consecutive over all partitions, and a view that is built
/// from the broadcasts equals the list.
#[tokio::test]
async fn broadcasts_of_all_partitions_have_consecutive_revisions() -> TestResult {
    let cluster = start_cluster(2).await?;
    let mut agents = Vec::new();
    for host in one_host_per_partition() {
        agents.push(
            cluster
                .start_agent_with_id(&host, &["d1", "d2", "d3", "d4"])
                .await?,
        );
    }
    let mut view = ReplicaView::open(&cluster.operator, 3).await?;
    let mut subscription: Broadcasts<ShardsUpdated> =
        Broadcasts::subscribe(&cluster.operator).await?;
    let mut last = subscription.next().await?.message.revision;
    for decky in ["d1", "d2", "d3"] {
        for agent in &mut agents {
            let accepted = cluster.operator.tear_down(&agent.host, decky).await?;
            agent.next_command().await?;
            agent
                .report_success(accepted.operation_id, &[decky])
                .await?;
            cluster.operator.wait_for_end(accepted.operation_id).await?;
        }
    }
    // Each teardown has at least two broadcasts.
    let (mut changes, mut removed) = (0, 0);
    while removed < 12 {
        let update = subscription.next().await?.message;
        ensure!(
            update.is_repeat() && update.revision == last || update.revision == last + 1,
            "{last} is followed by {}",
            update.revision
        );
        for record in &update.updated {
            assert_eq!(record.revision, update.revision);
        }
        changes += u32::from(!update.is_repeat());
        removed += update.removed.len();
        last = update.revision;
    }
    assert!(changes >= 24, "{changes}");
    view.follow_until(last).await?;
    let listings = view.listings();
    assert_eq!(
        clear_revisions(view.shards()),
        clear_revisions(cluster.operator.list_shards().await?)
    );
    // After a lost message, the view lists again.
    for agent in &mut agents {
        agent.report_inventory(&["d4", "d5"]).await?;
    }
    view.drop_next_change().await?;
    let (revision, _) = cluster.operator.list_shards_paged(500).await?;
    view.follow_until(revision).await?;
    assert!(view.listings() > listings, "the view did not list again");
    assert_eq!(
        clear_revisions(view.shards()),
        clear_revisions(cluster.operator.list_shards().await?)
    );
    Ok(())
}
