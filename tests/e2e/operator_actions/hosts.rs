//! Hosts: enrollment, status, and the list of hosts.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::SystemTime;

use scuttle_schemas::hosts::{EnrollAccepted, HostStatus, HostsList, HostsUpdated};
use scuttle_schemas::{ErrorCode, HostId, subjects};
use scuttle_tests::{Broadcasts, Cluster, ExpectRejection, FakeAgent, Rejection, TestResult};
use serde_json::{Value, json};

/// The controller generates the id, and announces the host on `hosts.updated`.
#[tokio::test]
async fn a_new_host_is_enrolled_with_a_generated_id() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut updates = Broadcasts::<HostsUpdated>::subscribe(&cluster.operator).await?;
    let request = json!({ "name": "worker-a", "address": "10.0.0.1", "labels": { "rack": "7" } });
    let reply: Value = cluster
        .operator
        .request(subjects::HOSTS_ENROLL, &request)
        .await?;
    assert_eq!(
        (&reply["accepted"], &reply["repeated"]),
        (&json!(true), &json!(false))
    );
    let host = &reply["host"];
    let id: HostId = serde_json::from_value(host["host_uuid"].clone())?;
    assert_eq!(id.as_str().parse::<uuid::Uuid>()?.get_version_num(), 7);
    let expected = json!({
        "host_uuid": id, "name": "worker-a", "address": "10.0.0.1", "labels": { "rack": "7" },
        "status": "enrolled", "last_heartbeat": null, "agent_version": null, "protected": false,
        "shards": 0, "open_operations": 0, "enrolled_at": host["enrolled_at"],
    });
    assert_eq!(*host, expected);

    let update = updates
        .wait_for("enrolled", |update| !update.updated.is_empty())
        .await?
        .message;
    assert_eq!(serde_json::to_value(&update.updated)?, json!([expected]));
    let list: Value = cluster
        .operator
        .request(subjects::HOSTS_LIST, &json!({}))
        .await?;
    assert_eq!(
        list,
        json!({ "revision": update.revision, "hosts": [expected], "next": null })
    );
    Ok(())
}

#[tokio::test]
async fn enrolling_the_same_host_again_is_a_repeat() -> TestResult {
    let cluster = Cluster::start().await?;
    let given = json!({ "name": "worker-a", "host_uuid": "rack-7_a" });
    let first: EnrollAccepted = cluster
        .operator
        .request(subjects::HOSTS_ENROLL, &given)
        .await?;
    assert_eq!(
        (first.host.host_uuid.as_str(), first.repeated),
        ("rack-7_a", false)
    );
    for request in [given, json!({ "name": "worker-a" })] {
        let again: EnrollAccepted = cluster
            .operator
            .request(subjects::HOSTS_ENROLL, &request)
            .await?;
        assert_eq!((again.accepted, again.repeated), (true, true));
        assert_eq!(again.host, first.host);
    }
    assert_eq!(cluster.operator.list_hosts().await?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn enrolling_the_name_or_id_of_another_host_is_rejected() -> TestResult {
    let cluster = Cluster::start().await?;
    for (name, id) in [("worker-a", "a"), ("worker-b", "b")] {
        let request = json!({ "name": name, "host_uuid": id });
        let _: EnrollAccepted = cluster
            .operator
            .request(subjects::HOSTS_ENROLL, &request)
            .await?;
    }
    let before = cluster.operator.list_hosts().await?;
    for (name, id) in [
        ("worker-a", "b"),
        ("worker-a", "c"),
        ("worker-c", "a"),
        ("worker-c", "worker-a"),
        ("worker-c", "Worker-A"),
        ("a", "c"),
        ("Worker-A", "c"),
    ] {
        let request = json!({ "name": name, "host_uuid": id });
        let reply = cluster
            .operator
            .request::<Value>(subjects::HOSTS_ENROLL, &request)
            .await;
        let Rejection { status, code, .. } = reply.expect_rejection();
        assert_eq!((status, code), (400, ErrorCode::BadRequest), "{request}");
    }
    assert_eq!(cluster.operator.list_hosts().await?, before);
    Ok(())
}

/// The host is `offline` after three intervals without a heartbeat. Each status is broadcast once,
/// with consecutive revisions.
#[tokio::test]
async fn a_host_is_online_while_its_heartbeats_arrive() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut updates = Broadcasts::<HostsUpdated>::subscribe(&cluster.operator).await?;
    let mut agent =
        FakeAgent::connect(&cluster.servers[0], &cluster.enroll_host("worker-a").await?).await?;
    agent.interval_ms = 100;
    agent.send_heartbeat().await?;
    let is = |status| {
        move |update: &HostsUpdated| update.updated.iter().any(|host| host.status == status)
    };
    let enrolled = updates
        .wait_for("enrolled", is(HostStatus::Enrolled))
        .await?
        .message;
    let online = updates
        .wait_for("online", is(HostStatus::Online))
        .await?
        .message;
    let offline = updates
        .wait_for("offline", is(HostStatus::Offline))
        .await?
        .message;
    let silent = offline.at.millis_since(online.at);
    assert!((200..5000).contains(&silent), "offline after {silent} ms");
    let host = cluster.operator.host(&agent.host).await?;
    assert_eq!(host.status, HostStatus::Offline);
    assert!(host.last_heartbeat.is_some(), "{host:?}");
    assert_eq!(host.agent_version, Some("fake".into()));

    agent.interval_ms = 60_000;
    agent.send_heartbeat().await?;
    let again = updates
        .wait_for("online again", is(HostStatus::Online))
        .await?
        .message;
    let revisions = [&enrolled, &online, &offline, &again].map(|update| update.revision);
    let first = revisions[0];
    assert_eq!(revisions, [first, first + 1, first + 2, first + 3]);
    Ok(())
}

#[tokio::test]
async fn a_shorter_heartbeat_interval_applies_immediately() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut updates = Broadcasts::<HostsUpdated>::subscribe(&cluster.operator).await?;
    let mut agent = cluster.start_agent("worker-a", &[]).await?;
    agent.interval_ms = 100;
    agent.send_heartbeat().await?;
    let offline = |update: &HostsUpdated| {
        update
            .updated
            .iter()
            .any(|host| host.status == HostStatus::Offline)
    };
    updates.wait_for("offline", offline).await?;
    Ok(())
}

#[tokio::test]
async fn the_list_of_hosts_counts_shards_and_open_operations() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut agent = cluster
        .start_agent("worker-a", &["decky-1", "decky-2", "decky-3"])
        .await?;
    let one = cluster.operator.tear_down(&agent.host, "decky-1").await?;
    let two = cluster.operator.tear_down(&agent.host, "decky-2").await?;
    let host = cluster.operator.host(&agent.host).await?;
    assert_eq!((host.shards, host.open_operations), (3, 2));
    agent.report_success(one.operation_id, &["decky-1"]).await?;
    agent
        .report_failure(two.operation_id, "busy", vec![])
        .await?;
    let host = cluster.operator.host(&agent.host).await?;
    assert_eq!((host.shards, host.open_operations), (2, 0));
    Ok(())
}

#[tokio::test]
async fn enrollments_that_break_a_rule_are_rejected() -> TestResult {
    let cluster = Cluster::start().await?;
    let many: BTreeMap<String, &str> = (0..17).map(|n| (n.to_string(), "v")).collect();
    for request in [
        json!({}),
        json!({ "name": "" }),
        json!({ "name": "a b" }),
        json!({ "name": "wörker" }),
        json!({ "name": "a".repeat(65) }),
        json!({ "name": "a", "host_uuid": "a.b" }),
        json!({ "name": "a", "host_uuid": "*" }),
        json!({ "name": "a", "host_uuid": ">" }),
        json!({ "name": "a", "host_uuid": "" }),
        json!({ "name": "a", "host_uuid": "a".repeat(65) }),
        json!({ "name": "a", "labels": many }),
        json!({ "name": "a", "labels": { "": "v" } }),
        json!({ "name": "a", "labels": { "k": "v".repeat(64) } }),
        json!({ "name": "a", "hostname": "b" }),
    ] {
        let reply = cluster
            .operator
            .request::<Value>(subjects::HOSTS_ENROLL, &request)
            .await;
        let Rejection { status, code, .. } = reply.expect_rejection();
        assert_eq!((status, code), (400, ErrorCode::BadRequest), "{request}");
    }
    assert_eq!(cluster.operator.list_hosts().await?.len(), 0);
    Ok(())
}

/// Returns the size and the modification time of each file in `dir`.
fn list_files(dir: &Path) -> anyhow::Result<BTreeMap<String, (u64, SystemTime)>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let about = entry.metadata()?;
        let name = entry.file_name().to_string_lossy().into_owned();
        files.insert(name, (about.len(), about.modified()?));
    }
    Ok(files)
}

#[tokio::test]
async fn a_heartbeat_without_a_change_writes_nothing_to_disk() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut agent = cluster.start_agent("worker-a", &["decky-1"]).await?;
    let request = json!({});
    let before: HostsList = cluster
        .operator
        .request(subjects::HOSTS_LIST, &request)
        .await?;
    let shards_before = cluster.operator.list_shards_paged(10).await?.0;
    let files_before = list_files(&cluster.path("controller"))?;
    assert!(!files_before.is_empty());
    for _ in 0..50 {
        agent.send_heartbeat().await?;
        agent.report_inventory(&["decky-1"]).await?;
    }
    assert_eq!(list_files(&cluster.path("controller"))?, files_before);
    let after: HostsList = cluster
        .operator
        .request(subjects::HOSTS_LIST, &request)
        .await?;
    assert_eq!(after.revision, before.revision);
    assert_eq!(
        cluster.operator.list_shards_paged(10).await?.0,
        shards_before
    );
    assert!(
        after.hosts[0].last_heartbeat > before.hosts[0].last_heartbeat,
        "{after:?}"
    );

    agent.report_inventory(&["decky-1", "decky-2"]).await?;
    assert_ne!(
        list_files(&cluster.path("controller"))?,
        files_before,
        "a change is written"
    );
    Ok(())
}
