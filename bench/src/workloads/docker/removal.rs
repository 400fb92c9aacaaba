//! The ways to remove all containers of a deployment, and the time that each takes.

use std::time::Instant;

use anyhow::{Result, ensure};
use futures_util::future::try_join_all;
use scuttle_schemas::operations::OperationState;
use scuttle_tests::clients::broadcasts::Broadcasts;
use scuttle_tests::cluster::docker_host::DockerHost;
use scuttle_tests::servers::dockerd::Daemon;
use serde::Serialize;

use crate::workloads::docker::deployment::{Behavior, Deployment, Layout};
use crate::workloads::docker::waiting::{wait_for_deckies, wait_for_end};

/// A way to remove all containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Method {
    /// `docker compose down` of each project, one after the other.
    ComposeDown,
    /// `docker compose down` of all projects at the same time.
    ParallelComposeDown,
    /// One `docker rm --force` of all containers. It stops no container before it kills it.
    ForcedRemoval,
    /// The teardown of the whole host, from the request to the success of the operation.
    Scuttle,
}

/// The time that one removal took.
#[derive(Debug, Serialize)]
pub(super) struct Removal {
    pub(super) layout: Layout,
    pub(super) behavior: Behavior,
    pub(super) method: Method,
    pub(super) round: u32,
    pub(super) seconds: f64,
}

impl Method {
    pub(super) const ALL: [Self; 4] = [
        Self::ComposeDown,
        Self::ParallelComposeDown,
        Self::ForcedRemoval,
        Self::Scuttle,
    ];

    /// Returns the methods to compare for a deployment.
    pub(super) fn list(deployment: &Deployment) -> Vec<Self> {
        let mut methods = Self::ALL.to_vec();
        methods.retain(|method| match method {
            Self::ParallelComposeDown => deployment.layout == Layout::ManyProjects,
            // It takes the same time whether or not the containers obey SIGTERM.
            Self::ForcedRemoval => deployment.behavior == Behavior::ObeysSigterm,
            Self::ComposeDown | Self::Scuttle => true,
        });
        methods
    }

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::ComposeDown => "compose down, one by one",
            Self::ParallelComposeDown => "compose down, in parallel",
            Self::ForcedRemoval => "docker rm --force",
            Self::Scuttle => "Scuttle",
        }
    }

    /// Removes a deployment, which is running, and returns the time in seconds.
    pub(super) async fn measure(
        self,
        stage: &mut DockerHost,
        deployment: &Deployment,
        grace_s: u32,
    ) -> Result<f64> {
        let daemon = &stage.daemon;
        let yaml = deployment.compose_file();
        let grace = grace_s.to_string();
        let down = async |project: String| {
            daemon
                .compose(&project, &yaml, &["down", "--timeout", &grace])
                .await
        };
        let start = Instant::now();
        match self {
            Self::ComposeDown => {
                for project in deployment.projects() {
                    down(project).await?;
                }
            }
            Self::ParallelComposeDown => {
                try_join_all(deployment.projects().into_iter().map(down)).await?;
            }
            Self::ForcedRemoval => return remove_by_force(daemon).await,
            Self::Scuttle => return tear_down(stage, deployment, &grace).await,
        }
        Ok(start.elapsed().as_secs_f64())
    }
}

async fn remove_by_force(daemon: &Daemon) -> Result<f64> {
    let containers = daemon.containers().await?;
    let start = Instant::now();
    let names = containers.split(' ');
    let command: Vec<_> = ["rm", "--force"].into_iter().chain(names).collect();
    daemon.docker(&command).await?;
    Ok(start.elapsed().as_secs_f64())
}

/// Starts the agent, waits until the record has all deckies, and tears down the host.
async fn tear_down(stage: &mut DockerHost, deployment: &Deployment, grace: &str) -> Result<f64> {
    let flags = [deployment.layout.agent_flags(), &["--grace-s", grace]].concat();
    stage.plan.flags = flags.iter().map(ToString::to_string).collect();
    stage.plan.docker = stage.daemon.host();
    stage.restart_agent().await?;
    stage.agent.quiet = true;
    wait_for_deckies(stage, deployment.deckies, "running").await?;
    // In production, an agent has usually been running for a long time before a teardown. Right
    // after its start, the agent is still inspecting the containers.
    stage.wait_for_heartbeat().await?;
    let operator = &stage.cluster.operator;
    let mut broadcasts = Broadcasts::subscribe(operator).await?;
    let start = Instant::now();
    let accepted = operator.tear_down(stage.host(), None).await?;
    let operation = wait_for_end(&mut broadcasts, accepted.operation_id).await?;
    let seconds = start.elapsed().as_secs_f64();
    ensure!(
        operation.state == OperationState::Succeeded,
        "{operation:?}\n{}",
        stage.agent.log()
    );
    stage.agent.kill().await?;
    Ok(seconds)
}
