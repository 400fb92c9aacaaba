//! More requests than the controller has capacity for: each is accepted or rejected as
//! `overloaded`, and no rejected request changes the record. Tests with chosen limits and a store
//! that blocks are in `controller/tests/internals/overload.rs`.

use scuttle_schemas::subjects;
use scuttle_tests::clients::pipelined_requests::{PipelinedRequests, is_overloaded};
use scuttle_tests::{Client, Cluster, Role, TestResult, wait_until};
use serde_json::json;

/// Each request is accepted or rejected as `overloaded`, and exactly the accepted changes are in
/// the record. Lists that are requested during the flood succeed.
#[tokio::test]
async fn every_request_of_a_flood_gets_a_reply() -> TestResult {
    /// The number of requests. The controller has no capacity for all of them at once, but its NATS
    /// client does not drop any (see `controller/src/nats/connection.rs`).
    const REQUESTS: usize = 12_000;
    let mut cluster = Cluster::start().await?;
    let flooder = Client::connect(&cluster.servers[0], Role::Operator).await?;
    let mut requests = PipelinedRequests::new(&flooder).await?;
    // The controller is stopped (SIGSTOP) while the requests are sent, so it receives all of them
    // at once.
    cluster.controllers[0].process().send_signal("STOP").await?;
    for number in 0..REQUESTS {
        let request = json!({ "name": format!("worker-{number}") });
        requests
            .send(number, subjects::HOSTS_ENROLL, &request)
            .await?;
    }
    flooder.nats().flush().await?;
    cluster.controllers[0].process().send_signal("CONT").await?;
    let mut accepted = 0;
    let mut rejected = 0;
    while accepted + rejected < REQUESTS {
        if (accepted + rejected) % 200 == 0 {
            let list = || cluster.operator.list_shards();
            wait_until("a list is answered during the flood", list, |_| true).await?;
        }
        let (number, reply) = requests.next_reply().await?;
        if is_overloaded(&reply) {
            rejected += 1;
        } else {
            assert_eq!(reply["accepted"], true, "{number} {reply}");
            accepted += 1;
        }
    }
    println!("{accepted} accepted, {rejected} rejected");
    let lines = cluster.controllers[0].read_audit_log()?;
    let overloaded = lines.iter().filter(|line| line["code"] == "overloaded");
    assert_eq!((lines.len(), overloaded.count()), (REQUESTS, rejected));
    assert_eq!(cluster.operator.list_hosts().await?.len(), accepted);
    Ok(())
}
