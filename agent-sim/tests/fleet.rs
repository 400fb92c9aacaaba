//! Tests of the simulator and its agents, on a real nats-server with a fake controller. Tests with
//! the real controller are in `tests/`.

mod fake_controller;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use clap::Parser;
use fake_controller::{FakeController, Server, connect_config};
use scuttle_agent::Connection;
use scuttle_agent_sim::args::Args;
use scuttle_agent_sim::fleet;
use scuttle_agent_sim::simulated_agent::SimulatedAgent;
use scuttle_schemas::HostId;
use scuttle_schemas::agents::{ProgressStep, ReportedOutcome, ResultOutcome};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

struct Fleet {
    agents: Vec<Arc<SimulatedAgent>>,
    shutdown: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Fleet {
    async fn start(server: &Server, words: &[&str]) -> Self {
        let args =
            Args::parse_from([&["scuttle-agent-sim", "--heartbeat-ms", "200"], words].concat());
        let agents = fleet::build_agents(&args).expect("created");
        let connection = Connection::connect("sim", &connect_config(server), None)
            .await
            .expect("connected");
        let shutdown = CancellationToken::new();
        let (running, token) = (agents.clone(), shutdown.clone());
        let task = tokio::spawn(async move { fleet::run(&running, &connection, token).await });
        Self {
            agents,
            shutdown,
            task,
        }
    }

    fn decky_count(&self) -> usize {
        self.agents
            .iter()
            .map(|agent| agent.runtime.decky_count())
            .sum()
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.expect("joined").expect("without an error");
    }
}

/// Starts one simulated host, and waits until the controller knows its inventory.
async fn start_host(words: &[&str]) -> (Server, FakeController, Fleet, HostId) {
    let server = Server::start();
    let mut controller = FakeController::start(&server).await;
    let fleet = Fleet::start(&server, &[&["--hosts", "1"], words].concat()).await;
    let host = fleet.agents[0].id.clone();
    controller
        .wait_until("the host is registered", |received| {
            received.inventories.contains_key(&host)
        })
        .await;
    (server, controller, fleet, host)
}

#[tokio::test(flavor = "multi_thread")]
async fn with_crashes_duplicates_and_lost_replies_every_command_is_executed_once_and_reported() {
    let server = Server::start();
    let mut controller = FakeController::start(&server).await;
    let faults = [
        "--crash-rate",
        "0.6",
        "--duplicate-rate",
        "0.3",
        "--fail-rate",
        "0.3",
    ];
    let size = [
        "--hosts",
        "10",
        "--deckies-per-host",
        "4",
        "--teardown-ms",
        "20..200",
    ];
    let data = tempfile::tempdir().expect("a directory");
    let disk = ["--data-dir", data.path().to_str().expect("text")];
    let fleet = Fleet::start(&server, &[&faults[..], &size, &disk].concat()).await;
    controller
        .wait_until("all hosts are registered", |received| {
            received.inventories.len() == 10
        })
        .await;
    assert_eq!(
        controller.inspect(|received| received.inventories.values().sum::<usize>()),
        40
    );

    let mut operations = Vec::new();
    for host in &fleet.agents {
        for payload in [
            &b""[..],
            b"{",
            b"[]",
            br#"{"type":"scuttle.v1.teardown_command"}"#,
        ] {
            controller.send_payload(&host.id, payload.to_vec()).await;
        }
        controller.send_payload(&host.id, vec![b'['; 20_000]).await;
        let operation = controller.tear_down(&host.id).await;
        controller.send_command(&host.id, operation).await;
        operations.push((host.id.clone(), operation));
    }
    controller
        .wait_until("all results are reported twice", |received| {
            received.copies.len() == 10 && received.copies.values().all(|copies| *copies >= 2)
        })
        .await;
    let failed = controller.inspect(|received| {
        let shards = received.results.values().flat_map(|result| &result.shards);
        shards
            .filter(|shard| shard.outcome == ReportedOutcome::Failed)
            .count()
    });
    assert!(failed > 0 && failed == fleet.decky_count(), "{failed}");
    let crashes: u64 = fleet
        .agents
        .iter()
        .map(|agent| agent.crashes.load(Ordering::Relaxed))
        .sum();
    assert!(crashes > 0);
    let malformed = |host: &Arc<SimulatedAgent>| host.counters.bad_payloads.load(Ordering::Relaxed);
    assert!(fleet.agents.iter().map(malformed).all(|count| count == 5));

    // Late copies of the commands change nothing. A second teardown of the failed deckies succeeds.
    for (host, operation) in &operations {
        controller.send_command(host, *operation).await;
        controller.tear_down(host).await;
    }
    controller
        .wait_until("the retries are reported", |received| {
            received.results.len() == 20
        })
        .await;
    let retried: BTreeSet<_> = operations.iter().map(|(_, operation)| *operation).collect();
    controller.inspect(|received| {
        for (operation, result) in &received.results {
            assert!(retried.contains(operation) || result.outcome == ResultOutcome::Succeeded);
        }
    });
    assert_eq!(fleet.decky_count(), 0);
    controller
        .wait_until("the inventories are empty", |received| {
            received.inventories.values().all(|count| *count == 0)
        })
        .await;
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn teardowns_of_different_deckies_overlap_and_a_teardown_of_the_host_runs_alone() {
    let words = ["--deckies-per-host", "4", "--teardown-ms", "1000"];
    let (_server, mut controller, fleet, host) = start_host(&words).await;
    let mut deckies = Vec::new();
    for decky in ["decky-01", "decky-02", "decky-03"] {
        deckies.push(controller.tear_down_decky(&host, decky).await);
    }
    let whole_host = controller.tear_down(&host).await;
    let after = controller.tear_down_decky(&host, "decky-01").await;
    controller
        .wait_until("all results are reported", |received| {
            received.results.len() == 5
        })
        .await;
    controller.inspect(|received| {
        let started = |operation| received.results[operation].started_at;
        let finished = |operation| received.results[operation].finished_at;
        let last_start = deckies.iter().map(started).max();
        let (first_end, last_end) = (
            deckies.iter().map(finished).min(),
            deckies.iter().map(finished).max(),
        );
        assert!(last_start < first_end, "{:?}", received.results);
        assert!(last_end <= Some(started(&whole_host)));
        assert!(finished(&whole_host) <= started(&after));
    });
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_reconnect_after_a_restart_of_the_server() {
    let mut server = Server::start();
    let mut controller = FakeController::start(&server).await;
    let words = [
        "--hosts",
        "5",
        "--deckies-per-host",
        "2",
        "--teardown-ms",
        "10..20",
    ];
    let fleet = Fleet::start(&server, &words).await;
    controller
        .wait_until("all hosts are registered", |received| {
            received.inventories.len() == 5
        })
        .await;
    server.restart();
    let before = controller.inspect(|received| received.heartbeats);
    controller
        .wait_until("heartbeats arrive again", |received| {
            received.heartbeats > before + 10
        })
        .await;
    for host in &fleet.agents {
        controller.tear_down(&host.id).await;
    }
    controller
        .wait_until("all results are reported", |received| {
            received.results.len() == 5
        })
        .await;
    fleet.stop().await;
}

struct Process(Child);

impl Process {
    fn start(server: &Server, data: &Path) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_scuttle-agent-sim"))
            .args([
                "--nats-url",
                &server.url(),
                "--enroll",
                "--hosts",
                "1",
                "--deckies-per-host",
                "3",
            ])
            .args([
                "--teardown-ms",
                "1500",
                "--heartbeat-ms",
                "100",
                "--data-dir",
            ])
            .arg(data)
            .stdout(Stdio::null())
            .spawn();
        Self(child.expect("started"))
    }

    fn kill(&mut self) {
        self.0.kill().and_then(|()| self.0.wait()).expect("killed");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_simulator_continues_where_it_stopped() {
    let server = Server::start();
    let mut controller = FakeController::start(&server).await;
    let data = tempfile::tempdir().expect("a directory");
    let host: HostId = "sim-0001".parse().expect("valid");

    let mut first = Process::start(&server, data.path());
    controller
        .wait_until("the host is registered", |received| {
            received.inventories.contains_key(&host)
        })
        .await;
    let operation = controller.tear_down(&host).await;
    controller
        .wait_until("one decky is gone", |received| {
            received.inventories[&host] == 2
        })
        .await;
    first.kill();

    let _second = Process::start(&server, data.path());
    controller
        .wait_until("the result is reported", |received| {
            received.results.contains_key(&operation)
        })
        .await;
    controller.inspect(|received| {
        let result = &received.results[&operation];
        assert_eq!(result.outcome, ResultOutcome::Succeeded);
        assert_eq!(
            result.shards[0].outcome,
            ReportedOutcome::Absent,
            "the first boot removed it"
        );
        let boots = received
            .progress
            .iter()
            .filter(|progress| progress.step == ProgressStep::Started);
        let boots: Vec<_> = boots.map(|progress| progress.boot_id).collect();
        assert!(
            boots.len() == 2 && boots[0] < boots[1] && result.boot_id == boots[1],
            "{boots:?}"
        );
    });
    controller
        .wait_until("the inventory is empty", |received| {
            received.inventories[&host] == 0
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn removed_deckies_are_deployed_again_and_reported() {
    let words = [
        "--deckies-per-host",
        "3",
        "--teardown-ms",
        "10..20",
        "--redeploy-ms",
        "200..600",
    ];
    let (_server, mut controller, fleet, host) = start_host(&words).await;
    for deployed in [3, 6] {
        let operation = controller.tear_down(&host).await;
        controller
            .wait_until("the result is reported", |received| {
                received.results.contains_key(&operation)
            })
            .await;
        let all_are_deployed = || {
            fleet.agents[0].redeployed.load(Ordering::Relaxed) == deployed
                && fleet.decky_count() == 3
        };
        controller
            .wait_until("all deckies are reported again", |received| {
                all_are_deployed() && received.inventories[&host] == 3
            })
            .await;
    }
    fleet.stop().await;
}
