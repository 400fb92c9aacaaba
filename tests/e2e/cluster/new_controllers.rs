//! A controller with an empty data directory. It reads the journal from the beginning, or a
//! snapshot if the journal was trimmed.

use scuttle_schemas::agents::Heartbeat;
use scuttle_schemas::subjects::AgentChannel;
use scuttle_tests::{Cluster, FakeAgent, TestResult, wait_until};
use serde_json::{Value, json};

use super::start_cluster;

/// Makes a follower a new controller by restarting it with an empty data directory, then kills the
/// other controllers and waits until the new one leads. Returns the number of the new controller.
async fn make_new_controller_lead(cluster: &mut Cluster) -> anyhow::Result<usize> {
    let leader = cluster.wait_for_leader().await?;
    let new_controller = (leader + 1) % cluster.controllers.len();
    let third = (leader + 2) % cluster.controllers.len();
    cluster.controllers[new_controller].kill().await?;
    std::fs::remove_dir_all(cluster.data_dir(new_controller))?;
    cluster.controllers[new_controller].restart().await?;
    assert_eq!(cluster.wait_for_leader().await?, leader);
    cluster.controllers[third].kill().await?;
    cluster.controllers[leader].kill().await?;
    assert_eq!(
        cluster.wait_for_leader_among(&[new_controller]).await?,
        new_controller
    );
    Ok(new_controller)
}

#[tokio::test]
async fn a_new_controller_joins_and_takes_over() -> TestResult {
    let mut cluster = start_cluster().await?;
    let mut agent = cluster
        .start_agent("worker-a", &["decky-1", "decky-2"])
        .await?;
    let accepted = cluster.operator.tear_down(&agent.host, "decky-1").await?;
    make_new_controller_lead(&mut cluster).await?;
    assert_eq!(
        cluster.operator.shard_states(&agent.host).await?,
        "decky-1 tearing_down, decky-2 running"
    );
    agent
        .report_success(accepted.operation_id, &["decky-1"])
        .await?;
    cluster.operator.wait_for_end(accepted.operation_id).await?;
    Ok(())
}

/// The agents report more bytes than the journal keeps, so that the leader trims the journal. There
/// is one server, because three copies of this journal take long on one disk.
#[tokio::test]
async fn a_new_controller_takes_over_from_a_snapshot_if_the_journal_was_trimmed() -> TestResult {
    const HOSTS: usize = 16;
    let builder = Cluster::builder().servers(1).controllers(3);
    let mut cluster = builder.start().await?;
    let mut hosts = Vec::new();
    for number in 0..HOSTS {
        let name = format!("worker-{number}");
        let start = || cluster.start_agent(&name, &[]);
        let agent = wait_until("the agent has started", start, |_| true).await?;
        hosts.push(agent.host.clone());
        report_large_inventory(agent).await?;
    }
    let leader = cluster.wait_for_leader().await?;
    cluster.controllers[leader]
        .process()
        .wait_for_line("trimmed the journal")
        .await?;
    let shards = cluster.operator.list_shards().await?;
    let new_controller = make_new_controller_lead(&mut cluster).await?;
    let process = cluster.controllers[new_controller].process();
    process.wait_for_line("downloading a snapshot").await?;
    assert_eq!(cluster.operator.list_shards().await?, shards);
    let accepted = cluster.operator.tear_down(&hosts[0], "decky-0").await?;
    cluster.operator.operation(accepted.operation_id).await?;
    Ok(())
}

/// Reports an inventory of many deckies with long labels. Repeats it if the leader changes.
async fn report_large_inventory(mut agent: FakeAgent) -> TestResult {
    let mut heartbeat = agent.next_heartbeat(None);
    let attempt = || {
        heartbeat.sequence += 1;
        send_pages(&agent, heartbeat.clone())
    };
    wait_until("the inventory is accepted", attempt, |()| true).await
}

async fn send_pages(agent: &FakeAgent, heartbeat: Heartbeat) -> TestResult {
    const PAGES: u32 = 8;
    const DECKIES_PER_PAGE: u32 = 64;
    let label = |number: usize| (format!("{number:063}"), Value::from("x".repeat(63)));
    let labels: Value = (0..16).map(label).collect();
    let mut heartbeat = serde_json::to_value(heartbeat)?;
    let subject = AgentChannel::Heartbeat.subject(&agent.host);
    for page in 1..=PAGES {
        let deckies = (page - 1) * DECKIES_PER_PAGE..page * DECKIES_PER_PAGE;
        let decky = |number| {
            let decky_id = format!("decky-{number}");
            json!({ "decky_id": decky_id, "state": "running", "labels": labels })
        };
        heartbeat["page"] = json!(page);
        heartbeat["pages"] = json!(PAGES);
        heartbeat["shards"] = deckies.map(decky).collect();
        let reply: Value = agent.client().request(&subject, &heartbeat).await?;
        anyhow::ensure!(reply["accepted"] == true, "{reply}");
    }
    Ok(())
}
