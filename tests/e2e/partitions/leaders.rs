//! Who leads which partition, when controllers come and go.

use std::time::Duration;

use async_nats::jetstream;
use scuttle_schemas::operations::OperationState;
use scuttle_schemas::{ErrorCode, subjects};
use scuttle_tests::clients::replica_view::View;
use scuttle_tests::wait::within;
use scuttle_tests::{AskError, Client, Role, TestResult, until};

use super::stage::{Stage, of, one_of_each};

/// One leads all, two lead half each, and the one that is left leads all again; nothing that was accepted is lost.
#[tokio::test]
async fn partitions_are_spread_over_those_who_are_there() -> TestResult {
    let mut stage = Stage::start(1).await?;
    stage.balanced(&[4.0]).await?;
    let mut agents = Vec::new();
    for host in one_of_each() {
        agents.push(stage.agent(&host, &["d1", "d2", "d3"]).await?);
    }
    let mut accepted = Vec::new();
    for agent in &agents {
        accepted.push(stage.operator.teardown(&agent.host, "d1").await?);
    }
    stage.join()?;
    stage.balanced(&[2.0, 2.0]).await?;
    for (agent, accepted) in agents.iter_mut().zip(&accepted) {
        agent.succeed(accepted.operation_id, &["d1"]).await?;
        let ended = stage.operator.ended(accepted.operation_id).await?;
        assert_eq!(ended.state, OperationState::Succeeded);
    }
    let mut accepted = Vec::new();
    for agent in &agents {
        accepted.push(stage.operator.teardown(&agent.host, "d2").await?);
    }
    stage.controllers[0].kill().await?;
    stage.controllers.remove(0);
    stage.balanced(&[4.0]).await?;
    for (agent, accepted) in agents.iter_mut().zip(&accepted) {
        agent.succeed(accepted.operation_id, &["d2"]).await?;
        let ended = stage.operator.ended(accepted.operation_id).await?;
        assert_eq!(ended.state, OperationState::Succeeded);
        assert_eq!(stage.operator.states(&agent.host).await?, "d3 running");
    }
    Ok(())
}

/// A view goes on through it all, and shows what is listed in the end.
#[tokio::test]
async fn a_view_outlasts_the_one_that_numbers_it() -> TestResult {
    let mut stage = Stage::start(2).await?;
    stage.balanced(&[2.0, 2.0]).await?;
    let mut agents = Vec::new();
    for host in one_of_each() {
        agents.push(stage.agent(&host, &["d1", "d2", "d3"]).await?);
    }
    let operator = Client::connect(&stage.nats, Role::Operator).await?;
    let mut view = View::open(&operator, 500).await?;
    for number in [0, 1] {
        stage.controllers[number].restart().await?;
        stage.settled().await?;
        for agent in &mut agents {
            let decky = format!("d{}", number + 1);
            let asked = || stage.operator.teardown(&agent.host, &*decky);
            let accepted = until("it is accepted", asked, |_| true).await?;
            agent.succeed(accepted.operation_id, &[&decky]).await?;
            stage.operator.ended(accepted.operation_id).await?;
        }
    }
    let (revision, _) = stage.operator.shards_paged(500).await?;
    view.reach(revision).await?;
    let shown: Vec<_> = view
        .shards()
        .iter()
        .map(|shard| shard.decky_id.to_string())
        .collect();
    assert_eq!(shown, ["d3"; 4]);
    Ok(())
}

/// Where nobody leads one of them, the others' hosts are served; a list, which would lack that one's, is refused.
#[tokio::test]
async fn a_list_is_whole_or_none() -> TestResult {
    let mut stage = Stage::bare().await?;
    let context = stage.context().await?;
    let bucket = jetstream::kv::Config {
        bucket: subjects::LEASES_BUCKET.to_owned(),
        history: 1,
        max_age: Duration::from_secs(2),
        ..jetstream::kv::Config::default()
    };
    let leases = context.create_key_value(bucket).await?;
    let unled = of().iter().nth(2).expect("a third");
    // Held by nobody who leads, as long as this goes on.
    let key = subjects::lease_key(unled);
    let holding = tokio::spawn(async move {
        let mut renewal = tokio::time::interval(Duration::from_millis(200));
        loop {
            renewal.tick().await;
            let _ = leases.put(&key, "this test".into()).await;
        }
    });
    stage.join()?;
    let hosts = one_of_each();
    for host in &hosts {
        let asked = || stage.agent(host, &["d1"]);
        if of().partition_of_host(host) != unled {
            until("its partition is led", asked, |_| true).await?;
        }
    }
    let answer = stage.operator.shards().await;
    let refused =
        matches!(&answer, Err(AskError::Refused(why)) if why.code == ErrorCode::NotLeader);
    assert!(refused, "{answer:?}");
    holding.abort();
    within("the list", stage.settled()).await??;
    assert_eq!(stage.operator.shards().await?.len(), 3);
    Ok(())
}

/// Two controllers must not divide the hosts in two ways.
#[tokio::test]
async fn another_number_of_partitions_is_refused() -> TestResult {
    let stage = Stage::start(1).await?;
    for number in [1, 2, 5] {
        let mut other = stage.controller(&format!("of-{number}"), number)?;
        let process = other.process();
        let code = process.exit().await?.code();
        assert_eq!(code, Some(1), "{}", process.log());
        let words = format!("--partitions is {number}");
        assert!(process.log().contains(&words), "{}", process.log());
    }
    assert_eq!(stage.operator.shards().await?.len(), 0);
    Ok(())
}
