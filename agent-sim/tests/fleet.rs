//! The simulator and the agents in it, on a real nats-server. The controller is a stand-in that answers: what the real
//! one makes of it all is tested in `tests/`.

mod bus;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bus::{Controller, Server, access};
use clap::Parser;
use scuttle_agent::Link;
use scuttle_agent_sim::args::Args;
use scuttle_agent_sim::fleet;
use scuttle_agent_sim::host::SimHost;
use scuttle_schemas::HostId;
use scuttle_schemas::agents::{ProgressStep, ReportedOutcome, ResultOutcome};
use tokio::sync::watch;
use tokio::task::JoinHandle;

struct Fleet {
    hosts: Vec<Arc<SimHost>>,
    stop: watch::Sender<bool>,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Fleet {
    async fn start(server: &Server, words: &[&str]) -> Self {
        let args =
            Args::parse_from([&["scuttle-agent-sim", "--heartbeat-ms", "200"], words].concat());
        let hosts = fleet::hosts(&args).expect("made");
        let link = Link::connect("sim", &access(server), None)
            .await
            .expect("connected");
        let (stop, stopped) = watch::channel(false);
        let running = hosts.clone();
        let task = tokio::spawn(async move { fleet::run(&running, &link, stopped).await });
        Self { hosts, stop, task }
    }

    fn deckies(&self) -> usize {
        self.hosts.iter().map(|host| host.runtime.deckies()).sum()
    }

    async fn stop(self) {
        self.stop.send_replace(true);
        self.task.await.expect("ended").expect("without an error");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_crashes_doubles_and_lost_answers_every_command_is_executed_once_and_reported() {
    let server = Server::start();
    let mut controller = Controller::start(&server).await;
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
        .until("all are registered", |heard| heard.inventories.len() == 10)
        .await;
    assert_eq!(
        controller.heard(|heard| heard.inventories.values().sum::<usize>()),
        40
    );

    let mut operations = Vec::new();
    for host in &fleet.hosts {
        for payload in [
            &b""[..],
            b"{",
            b"[]",
            br#"{"type":"scuttle.v1.teardown_command"}"#,
        ] {
            controller.publish(&host.id, payload.to_vec()).await;
        }
        controller.publish(&host.id, vec![b'['; 20_000]).await;
        let operation = controller.tear_down(&host.id).await;
        controller.send(&host.id, operation).await;
        operations.push((host.id.clone(), operation));
    }
    controller
        .until("all are reported twice", |heard| {
            heard.copies.len() == 10 && heard.copies.values().all(|copies| *copies >= 2)
        })
        .await;
    let failed = controller.heard(|heard| {
        let shards = heard.results.values().flat_map(|result| &result.shards);
        shards
            .filter(|shard| shard.outcome == ReportedOutcome::Failed)
            .count()
    });
    assert!(failed > 0 && failed == fleet.deckies(), "{failed}");
    let crashes: u64 = fleet
        .hosts
        .iter()
        .map(|host| host.crashes.load(Ordering::Relaxed))
        .sum();
    assert!(crashes > 0);
    let bad = |host: &Arc<SimHost>| host.counters.bad_payloads.load(Ordering::Relaxed);
    assert!(fleet.hosts.iter().map(bad).all(|bad| bad == 5));

    // Late copies change nothing; the retry of what failed succeeds.
    for (host, operation) in &operations {
        controller.send(host, *operation).await;
        controller.tear_down(host).await;
    }
    controller
        .until("the retries are reported", |heard| {
            heard.results.len() == 20
        })
        .await;
    let retried: BTreeSet<_> = operations.iter().map(|(_, operation)| *operation).collect();
    controller.heard(|heard| {
        for (operation, result) in &heard.results {
            assert!(retried.contains(operation) || result.outcome == ResultOutcome::Succeeded);
        }
    });
    assert_eq!(fleet.deckies(), 0);
    controller
        .until("the inventories are empty", |heard| {
            heard.inventories.values().all(|count| *count == 0)
        })
        .await;
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_the_server_is_survived() {
    let mut server = Server::start();
    let mut controller = Controller::start(&server).await;
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
        .until("all are registered", |heard| heard.inventories.len() == 5)
        .await;
    server.restart();
    let before = controller.heard(|heard| heard.heartbeats);
    controller
        .until("all are back", |heard| heard.heartbeats > before + 10)
        .await;
    for host in &fleet.hosts {
        controller.tear_down(&host.id).await;
    }
    controller
        .until("all are reported", |heard| heard.results.len() == 5)
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
async fn a_killed_process_goes_on_where_it_was() {
    let server = Server::start();
    let mut controller = Controller::start(&server).await;
    let data = tempfile::tempdir().expect("a directory");
    let host: HostId = "sim-0001".parse().expect("valid");

    let mut first = Process::start(&server, data.path());
    controller
        .until("it is registered", |heard| {
            heard.inventories.contains_key(&host)
        })
        .await;
    let operation = controller.tear_down(&host).await;
    controller
        .until("one decky is gone", |heard| heard.inventories[&host] == 2)
        .await;
    first.kill();

    let _second = Process::start(&server, data.path());
    controller
        .until("it is reported", |heard| {
            heard.results.contains_key(&operation)
        })
        .await;
    controller.heard(|heard| {
        let result = &heard.results[&operation];
        assert_eq!(result.outcome, ResultOutcome::Succeeded);
        assert_eq!(
            result.shards[0].outcome,
            ReportedOutcome::Absent,
            "the first boot removed it"
        );
        let boots = heard
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
        .until("the inventory is empty", |heard| {
            heard.inventories[&host] == 0
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_removed_is_deployed_anew_and_reported() {
    let server = Server::start();
    let mut controller = Controller::start(&server).await;
    let words = [
        "--hosts",
        "1",
        "--deckies-per-host",
        "3",
        "--teardown-ms",
        "10..20",
        "--redeploy-ms",
        "200..600",
    ];
    let fleet = Fleet::start(&server, &words).await;
    let host = fleet.hosts[0].id.clone();
    controller
        .until("it is registered", |heard| {
            heard.inventories.contains_key(&host)
        })
        .await;
    for deployed in [3, 6] {
        let operation = controller.tear_down(&host).await;
        controller
            .until("it is reported", |heard| {
                heard.results.contains_key(&operation)
            })
            .await;
        let host_is_whole = || {
            fleet.hosts[0].redeployed.load(Ordering::Relaxed) == deployed && fleet.deckies() == 3
        };
        controller
            .until("all are reported again", |heard| {
                host_is_whole() && heard.inventories[&host] == 3
            })
            .await;
    }
    fleet.stop().await;
}
