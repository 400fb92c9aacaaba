//! A journal that has lost accepted operations: its stream was deleted or purged, or its server was
//! replaced by an empty one. No controller serves such a journal. An operator recovers it from the
//! newest rows.

use std::path::Path;

use anyhow::Result;
use async_nats::jetstream::{self, Context};
use scuttle_schemas::{OperationId, Partition, subjects};
use scuttle_tests::programs::program_command;
use scuttle_tests::programs::scuttle::{CommandOutput, run_to_end};
use scuttle_tests::{Cluster, Controller, FakeAgent, Role, TestResult};

const DECKIES: [&str; 3] = ["decky-1", "decky-2", "decky-3"];

/// Adds a user with full permissions in the controllers' account to `nats.conf`.
pub(crate) fn add_maintenance_user(nats_conf: &str) -> String {
    let users = "users: [\n      {\n        user: controller";
    let more = "users: [\n      { user: maintenance, password: maintenance }\n      {\n        user: controller";
    assert!(nats_conf.contains(users));
    nats_conf.replace(users, more)
}

/// Connects as the user that [`add_maintenance_user`] adds.
pub(crate) async fn connect_for_maintenance(cluster: &Cluster) -> Result<Context> {
    let options = async_nats::ConnectOptions::with_user_and_password(
        "maintenance".to_owned(),
        "maintenance".to_owned(),
    );
    let client = options.connect(cluster.servers[0].url()).await?;
    Ok(jetstream::new(client))
}

/// Runs `scuttle doctor` as an operator.
pub(super) async fn run_doctor(cluster: &Cluster) -> Result<CommandOutput> {
    let mut command = program_command("scuttle");
    command
        .arg("doctor")
        .current_dir(cluster.path("nats"))
        .env("HOME", cluster.path("nats"))
        .env("SCUTTLE_NATS_URL", cluster.servers[0].url())
        .envs(cluster.servers[0].environment(Role::Operator));
    run_to_end(command, &["doctor"]).await
}

pub(super) fn journal() -> String {
    subjects::journal_stream_name(Partition::FIRST)
}

/// A small swarm with an accepted operation for each of [`DECKIES`].
struct Swarm {
    cluster: Cluster,
    agent: FakeAgent,
    accepted: Vec<OperationId>,
}

impl Swarm {
    async fn start(controllers: usize) -> Result<Self> {
        let builder = Cluster::builder().servers(1).controllers(controllers);
        let builder = builder
            .setting("SCUTTLE_STORE", "jetstream")
            .setting("SCUTTLE_REPLICAS", "1")
            .setting("SCUTTLE_HTTP", "127.0.0.1:0");
        let cluster = builder.nats_conf(add_maintenance_user).start().await?;
        let agent = cluster.start_agent("worker-a", &DECKIES).await?;
        let mut accepted = Vec::new();
        for decky in DECKIES {
            let reply = cluster.operator.tear_down(&agent.host, decky).await?;
            accepted.push(reply.operation_id);
        }
        Ok(Self {
            cluster,
            agent,
            accepted,
        })
    }

    /// Waits until every controller has halted, and checks that nothing is served.
    async fn expect_halted(&mut self, reason: &str) -> TestResult {
        for controller in &mut self.cluster.controllers {
            let http = controller.http().await?;
            let line = controller.process().wait_for_line("halted: ").await?;
            assert!(line.contains(reason), "{line}");
            assert!(line.contains("scuttle-controller recover"), "{line}");
            http.wait_for_texts("/readyz", &["503", "halted"]).await?;
            let metrics = http.get("/metrics").await?;
            assert!(metrics.contains("scuttle_partitions_halted 1"), "{metrics}");
        }
        let operator = &self.cluster.operator;
        assert!(operator.list_operations().await.is_err());
        let request = operator.tear_down(&self.agent.host, "decky-1").await;
        assert!(request.is_err(), "{request:?}");
        let doctor = run_doctor(&self.cluster).await?;
        assert_ne!(doctor.code, 0);
        assert!(doctor.stdout.contains(reason), "{}", doctor.stdout);
        assert!(doctor.stdout.contains("recover"), "{}", doctor.stdout);
        Ok(())
    }

    /// Runs `scuttle-controller recover` with the rows of a controller.
    async fn run_recover(&self, rows: &Path, arguments: &[&str]) -> Result<CommandOutput> {
        let mut command = Controller::command();
        command
            .arg("recover")
            .args(arguments)
            .args(["--replicas", "1", "--nats-url", &self.cluster.url()])
            .arg("--data-dir")
            .arg(rows)
            .envs(self.cluster.servers[0].environment(Role::Controller));
        run_to_end(command, &["recover"]).await
    }

    async fn kill_controllers(&mut self) -> TestResult {
        for controller in &mut self.cluster.controllers {
            controller.kill().await?;
        }
        Ok(())
    }

    /// Recovers the journal from the rows of the first controller, starts all controllers again,
    /// the others with empty directories, and checks that no accepted operation is lost.
    async fn recover(&mut self) -> TestResult {
        let rows = self.cluster.data_dir(0);
        let refused = self.run_recover(&rows, &["--yes"]).await?;
        refused.expect_failure(1, &["a controller is running"])?;
        self.kill_controllers().await?;
        let refused = self.run_recover(&rows, &[]).await?;
        refused.expect_failure(1, &["to recover from: the rows in", "not confirmed"])?;
        let recovered = self.run_recover(&rows, &["--yes"]).await?;
        let recovered = recovered.expect_success()?;
        assert!(recovered.contains("from the rows in"), "{recovered}");
        let again = self.run_recover(&rows, &["--yes"]).await?;
        again.expect_failure(1, &["nothing to recover"])?;

        for number in 1..self.cluster.controllers.len() {
            std::fs::remove_dir_all(self.cluster.data_dir(number))?;
        }
        for controller in &mut self.cluster.controllers {
            controller.restart().await?;
        }
        self.cluster.wait_until_ready().await?;
        self.expect_nothing_lost().await
    }

    async fn expect_nothing_lost(&mut self) -> TestResult {
        let cluster = &self.cluster;
        for id in &self.accepted {
            cluster.operator.operation(*id).await?;
        }
        let states = cluster.operator.shard_states(&self.agent.host).await?;
        let expected = "decky-1 tearing_down, decky-2 tearing_down, decky-3 tearing_down";
        assert_eq!(states, expected);
        self.agent
            .report_success(self.accepted[0], &["decky-1"])
            .await?;
        cluster.operator.wait_for_end(self.accepted[0]).await?;
        Ok(())
    }
}

#[tokio::test]
async fn a_deleted_stream_halts_every_controller_until_it_is_recovered() -> TestResult {
    let mut swarm = Swarm::start(2).await?;
    let maintenance = connect_for_maintenance(&swarm.cluster).await?;
    maintenance.delete_stream(journal()).await?;
    swarm.expect_halted("does not exist").await?;
    // Neither a restart nor a new controller without rows ends the halt.
    for controller in &mut swarm.cluster.controllers {
        controller.restart().await?;
    }
    swarm.expect_halted("does not exist").await?;
    assert!(maintenance.get_stream(journal()).await.is_err());
    swarm.recover().await
}

#[tokio::test]
async fn a_purged_journal_halts_every_controller_until_it_is_recovered() -> TestResult {
    let mut swarm = Swarm::start(2).await?;
    let maintenance = connect_for_maintenance(&swarm.cluster).await?;
    maintenance.get_stream(journal()).await?.purge().await?;
    swarm.expect_halted("was purged").await?;
    swarm.recover().await
}

/// The only server is replaced by one without data.
#[tokio::test]
async fn an_empty_server_halts_a_controller_that_has_rows() -> TestResult {
    let mut swarm = Swarm::start(1).await?;
    swarm.cluster.servers[0].kill().await?;
    std::fs::remove_dir_all(swarm.cluster.path("nats").join("store"))?;
    swarm.cluster.servers[0].restart().await?;
    swarm.expect_halted("does not exist").await?;
    swarm.recover().await
}

/// A controller with the rows of the lost stream does not join the recovered one, because its rows
/// may contain operations that were not recovered. It does not keep others from leading, either.
#[tokio::test]
async fn old_rows_do_not_join_a_recovered_journal() -> TestResult {
    let mut swarm = Swarm::start(2).await?;
    let maintenance = connect_for_maintenance(&swarm.cluster).await?;
    maintenance.get_stream(journal()).await?.purge().await?;
    swarm.expect_halted("was purged").await?;
    swarm.kill_controllers().await?;
    let rows = swarm.cluster.data_dir(0);
    let recovered = swarm.run_recover(&rows, &["--yes"]).await?;
    recovered.expect_success()?;
    let [recovered, old] = &mut swarm.cluster.controllers[..] else {
        anyhow::bail!("there are two controllers");
    };
    old.restart().await?;
    let line = old.process().wait_for_line("halted: ").await?;
    assert!(line.contains("recovered"), "{line}");
    recovered.restart().await?;
    assert_eq!(swarm.cluster.wait_for_leader_among(&[0]).await?, 0);
    swarm.expect_nothing_lost().await
}
