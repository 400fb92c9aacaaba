//! More requests than the controller has capacity for: each is accepted or rejected as `overloaded`, and no rejected
//! request leaves a trace. Tests with chosen limits and a store that blocks are in `controller/tests/internals/overload.rs`.

use scuttle_schemas::subjects;
use scuttle_tests::clients::pipelined_requests::{PipelinedRequests, is_overloaded};
use scuttle_tests::{Client, Role, Swarm, TestResult};
use serde_json::json;

/// A flood of changes at a whole controller: each is accepted or told `overloaded`, all that was accepted and
/// nothing else is there, and every list meanwhile is answered.
#[tokio::test]
async fn every_request_of_a_flood_is_answered() -> TestResult {
    /// More than there is room for; fewer than the client may lose (`connection.rs`).
    const FLOOD: usize = 12_000;
    let mut swarm = Swarm::start().await?;
    let flooder = Client::connect(&swarm.nats, Role::Operator).await?;
    let mut requests = PipelinedRequests::new(&flooder).await?;
    // Stopped meanwhile, it gets the whole flood at once.
    swarm.controller.process().signal("STOP").await?;
    for number in 0..FLOOD {
        let request = json!({ "name": format!("worker-{number}") });
        requests
            .send(number, subjects::HOSTS_ENROLL, &request)
            .await?;
    }
    flooder.nats().flush().await?;
    swarm.controller.process().signal("CONT").await?;
    let mut accepted = 0;
    let mut refused = 0;
    while accepted + refused < FLOOD {
        if (accepted + refused) % 200 == 0 {
            swarm.operator.shards().await?;
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
    let lines = swarm.controller.audit()?;
    let overloaded = lines.iter().filter(|line| line["code"] == "overloaded");
    assert_eq!((lines.len(), overloaded.count()), (FLOOD, refused));
    assert_eq!(swarm.operator.hosts().await?.len(), accepted);
    Ok(())
}
