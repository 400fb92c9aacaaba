//! More requests than the controller has capacity for: each is accepted or rejected as `overloaded`, and no rejected
//! request leaves a trace. Tests with chosen limits and a store that blocks are in `controller/tests/internals/overload.rs`.

use scuttle_schemas::subjects;
use scuttle_tests::clients::pipelined_requests::{PipelinedRequests, is_overloaded};
use scuttle_tests::{Client, Cluster, Role, TestResult};
use serde_json::json;

/// A flood of changes at a whole controller: each is accepted or told `overloaded`, all that was accepted and
/// nothing else is there, and every list meanwhile is answered.
#[tokio::test]
async fn every_request_of_a_flood_is_answered() -> TestResult {
    /// More than there is room for; fewer than the client may lose (`connection.rs`).
    const FLOOD: usize = 12_000;
    let mut cluster = Cluster::start().await?;
    let flooder = Client::connect(&cluster.servers[0], Role::Operator).await?;
    let mut requests = PipelinedRequests::new(&flooder).await?;
    // Stopped meanwhile, it gets the whole flood at once.
    cluster.controllers[0].process().send_signal("STOP").await?;
    for number in 0..FLOOD {
        let request = json!({ "name": format!("worker-{number}") });
        requests
            .send(number, subjects::HOSTS_ENROLL, &request)
            .await?;
    }
    flooder.nats().flush().await?;
    cluster.controllers[0].process().send_signal("CONT").await?;
    let mut accepted = 0;
    let mut refused = 0;
    while accepted + refused < FLOOD {
        if (accepted + refused) % 200 == 0 {
            cluster.operator.list_shards().await?;
        }
        let (number, answer) = requests.next_reply().await?;
        if is_overloaded(&answer) {
            refused += 1;
        } else {
            assert_eq!(answer["accepted"], true, "{number} {answer}");
            accepted += 1;
        }
    }
    println!("{accepted} accepted, {refused} refused");
    let lines = cluster.controllers[0].read_audit_log()?;
    let overloaded = lines.iter().filter(|line| line["code"] == "overloaded");
    assert_eq!((lines.len(), overloaded.count()), (FLOOD, refused));
    assert_eq!(cluster.operator.list_hosts().await?.len(), accepted);
    Ok(())
}
