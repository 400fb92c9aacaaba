//! Host names are unique across all partitions.

use std::fmt::Debug;

use futures_util::future::join_all;
use scuttle_schemas::hosts::{EnrollAccepted, HostStatus, HostUpdateAccepted};
use scuttle_schemas::{ErrorCode, HostId, subjects};
use scuttle_tests::{Client, Cluster, RequestError, TestResult, wait_until};
use serde_json::{Value, json};

use super::{
    PARTITIONS, connect_jetstream, one_host_per_partition, partition_count, start_cluster,
};
use crate::cluster::lost_journal::{add_maintenance_user, connect_for_maintenance};

async fn enroll(
    operator: &Client,
    name: &str,
    host: Option<&HostId>,
) -> Result<EnrollAccepted, RequestError> {
    let request = json!({ "name": name, "host_uuid": host });
    operator.request(subjects::HOSTS_ENROLL, &request).await
}

fn assert_rejected<T: Debug>(reply: Result<T, RequestError>, text: &str) {
    match reply {
        Err(RequestError::Rejected(rejection)) if rejection.code == ErrorCode::BadRequest => {
            assert!(rejection.message.contains(text), "{}", rejection.message);
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_name_belongs_to_one_host_across_all_partitions() -> TestResult {
    let cluster = start_cluster(2).await?;
    let operator = &cluster.operator;
    let hosts = one_host_per_partition();
    for (number, host) in hosts.iter().enumerate() {
        let name = format!("worker.{number}");
        let new = enroll(operator, &name, Some(host)).await?;
        assert!(!new.repeated && new.host.host_uuid == *host);
        // With the same id or none, the request is a repeat. With another id, it is rejected.
        for again in [Some(host), None] {
            let again = enroll(operator, &name, again).await?;
            assert!(again.repeated && again.host.host_uuid == *host);
        }
        for other in hosts.iter().filter(|other| *other != host) {
            assert_rejected(enroll(operator, &name, Some(other)).await, host.as_str());
        }
        // The id is in use, too.
        assert_rejected(enroll(operator, "another", Some(host)).await, &name);
    }

    // After its host is decommissioned, a name is free for any host.
    let (first, last) = (&hosts[0], &hosts[3]);
    for host in [first, last] {
        let request = json!({ "host_uuid": host });
        let _: Value = operator
            .request(subjects::HOSTS_DECOMMISSION, &request)
            .await?;
    }
    let moved = enroll(operator, "worker.0", Some(last)).await?;
    assert!(!moved.repeated && moved.host.host_uuid == *last);
    assert_rejected(
        enroll(operator, "worker.0", Some(first)).await,
        last.as_str(),
    );
    let fresh = enroll(operator, "worker.3", None).await?;
    assert!(!fresh.repeated && !hosts.contains(&fresh.host.host_uuid));
    Ok(())
}

#[tokio::test]
async fn a_renamed_host_has_a_unique_name_across_all_partitions() -> TestResult {
    let cluster = start_cluster(2).await?;
    let operator = &cluster.operator;
    let hosts = one_host_per_partition();
    for (number, host) in hosts.iter().enumerate() {
        enroll(operator, &format!("worker.{number}"), Some(host)).await?;
    }
    let rename = async |host: &HostId, name: &str| {
        let request = json!({ "host_uuid": host, "name": name });
        let reply = operator.request(subjects::HOSTS_UPDATE, &request).await;
        reply.map(|accepted: HostUpdateAccepted| accepted.host.name)
    };
    for host in &hosts[1..] {
        let reply = rename(host, "worker.0").await;
        let Err(RequestError::Rejected(rejection)) = reply else {
            panic!("{reply:?}");
        };
        assert_eq!(rejection.code, ErrorCode::BadRequest);
        assert!(
            rejection.message.contains(hosts[0].as_str()),
            "{rejection:?}"
        );
    }
    assert_eq!(rename(&hosts[0], "trap").await?.as_str(), "trap");
    assert_eq!(rename(&hosts[0], "trap").await?.as_str(), "trap");
    // The old name is free, and the new one is in use.
    assert_eq!(rename(&hosts[1], "worker.0").await?.as_str(), "worker.0");
    assert_rejected(
        enroll(operator, "trap", Some(&hosts[2])).await,
        hosts[0].as_str(),
    );
    assert!(enroll(operator, "trap", None).await?.repeated);
    // Only one host gets a name that several want at the same time.
    let requests = hosts[1..].iter().map(|host| rename(host, "worker.9"));
    let accepted = join_all(requests).await.into_iter().flatten();
    assert_eq!(accepted.count(), 1);
    Ok(())
}

#[tokio::test]
async fn a_name_or_id_of_one_partition_is_not_given_to_a_host_of_another() -> TestResult {
    let cluster = start_cluster(2).await?;
    let operator = &cluster.operator;
    let hosts = one_host_per_partition();
    let first = hosts[0].as_str();
    enroll(operator, "Trap.1", Some(&hosts[0])).await?;
    let described = format!("host Trap.1 ({first})");
    for (number, other) in hosts.iter().enumerate().skip(1) {
        for name in ["trap.1", first, &first.to_uppercase()] {
            assert_rejected(enroll(operator, name, Some(other)).await, &described);
        }
        enroll(operator, &format!("worker.{number}"), Some(other)).await?;
        let request = json!({ "host_uuid": other, "name": first });
        let renamed = operator.request(subjects::HOSTS_UPDATE, &request);
        assert_rejected::<HostUpdateAccepted>(renamed.await, &described);
    }
    assert_rejected(enroll(operator, "TRAP.1", None).await, &described);
    // An id is not the name of another host, whatever partitions the two belong to.
    for number in 0..4 {
        let name = format!("rack-{number}");
        enroll(operator, &name, None).await?;
        let id: HostId = name.parse()?;
        let reply = enroll(operator, "w8", Some(&id)).await;
        assert_rejected(
            reply,
            &format!("the id {name} is the name of host {name} ("),
        );
    }
    // The claim of a request that was rejected does not block the name.
    assert!(!enroll(operator, "w8", None).await?.repeated);
    Ok(())
}

#[tokio::test]
async fn only_one_of_many_concurrent_requests_gets_a_name() -> TestResult {
    let cluster = start_cluster(2).await?;
    for round in 0..5 {
        let name = format!("worker-{round}");
        let ids: Vec<HostId> = (0..8)
            .map(|number| format!("r{round}-{number}").parse())
            .collect::<Result<_, _>>()?;
        let requests = ids
            .iter()
            .map(|id| enroll(&cluster.operator, &name, Some(id)));
        let accepted = join_all(requests).await.into_iter().flatten();
        assert_eq!(accepted.count(), 1, "{name}");
    }
    let hosts = cluster.operator.list_hosts().await?;
    assert_eq!(hosts.len(), 5);
    Ok(())
}

/// A leader claims a host's name before it enrolls the host. If the leader is killed in between, a
/// claim without a host remains. Such a claim does not block the name, but the claim of an active
/// host does.
#[tokio::test]
async fn a_claimed_name_without_a_host_is_free() -> TestResult {
    let cluster = start_cluster(1).await?;
    let context = connect_jetstream(&cluster).await?;
    let names = context.get_key_value(subjects::NAMES_BUCKET).await?;
    let hosts = one_host_per_partition();
    names.put("worker=a", hosts[1].to_string().into()).await?;
    let new = enroll(&cluster.operator, "worker.a", Some(&hosts[2])).await?;
    assert!(!new.repeated);
    assert_rejected(
        enroll(&cluster.operator, "worker.a", Some(&hosts[1])).await,
        hosts[2].as_str(),
    );
    let claimed = names.get("worker=a").await?;
    assert_eq!(claimed, Some(hosts[2].to_string().into()));
    let living = cluster.operator.list_hosts().await?;
    let living = living
        .values()
        .filter(|host| host.status != HostStatus::Decommissioned);
    assert_eq!(living.count(), 1);
    assert_ne!(
        partition_count().partition_of_host(&hosts[1]),
        partition_count().partition_of_host(&hosts[2])
    );
    Ok(())
}

/// The leaders fill the new bucket from the record. Until then, no name is granted.
#[tokio::test]
async fn a_deleted_registry_of_names_is_filled_again_from_the_record() -> TestResult {
    let builder = Cluster::builder().controllers(2).partitions(PARTITIONS);
    let cluster = builder.nats_conf(add_maintenance_user).start().await?;
    let operator = &cluster.operator;
    let hosts = one_host_per_partition();
    for (number, host) in hosts.iter().enumerate() {
        let name = format!("worker.{number}");
        let attempt = || enroll(operator, &name, Some(host));
        wait_until("the host is enrolled", attempt, |_| true).await?;
    }
    let maintenance = connect_for_maintenance(&cluster).await?;
    let bucket = format!("KV_{}", subjects::NAMES_BUCKET);
    maintenance.delete_stream(&bucket).await?;
    for (number, host) in hosts.iter().enumerate() {
        let (name, other) = (format!("worker.{number}"), &hosts[(number + 1) % 4]);
        let claim = || async {
            match enroll(operator, &name, Some(other)).await {
                Err(RequestError::Rejected(error)) if error.code == ErrorCode::BadRequest => {
                    Ok(error.message)
                }
                other => Err(format!("{other:?}")),
            }
        };
        let names_owner = |message: &String| message.contains(host.as_str());
        wait_until("the name has its owner again", claim, names_owner).await?;
    }
    let list = || operator.list_hosts();
    let hosts = wait_until("the list is complete", list, |_| true).await?;
    assert_eq!(hosts.len(), 4);
    let attempt = || enroll(operator, "worker.new", None);
    wait_until("a new host is enrolled", attempt, |_| true).await?;
    Ok(())
}
