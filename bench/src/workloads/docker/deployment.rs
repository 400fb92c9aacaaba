//! The containers that are deployed and removed: their projects and their number.

use std::fmt::Write;

use anyhow::Result;
use futures_util::{StreamExt, TryStreamExt, stream};
use scuttle_tests::servers::dockerd::{Daemon, IGNORES_SIGTERM, IMAGE, STOPS_ON_SIGTERM};
use serde::Serialize;

/// The number of deckies in a single project, each with three containers.
const DECKIES: usize = 30;
/// The number of projects, each of which is a decky with two containers.
const PROJECTS: usize = 20;
/// The number of projects that are started at the same time.
const STARTS: usize = 4;

/// The projects that contain the deckies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Layout {
    /// One project that contains all deckies, as DECNET creates it.
    OneProject,
    /// A project for each decky.
    ManyProjects,
}

impl Layout {
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::OneProject => "1 project of 30 × 3",
            Self::ManyProjects => "20 projects of 2",
        }
    }

    /// Returns the options of the agent that make it find the deckies.
    pub(super) fn agent_flags(self) -> &'static [&'static str] {
        match self {
            Self::OneProject => &["--preset", "decnet"],
            Self::ManyProjects => &[],
        }
    }
}

/// The response of the containers to SIGTERM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Behavior {
    ObeysSigterm,
    IgnoresSigterm,
}

impl Behavior {
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::ObeysSigterm => "SIGTERM obeyed",
            Self::IgnoresSigterm => "SIGTERM ignored",
        }
    }

    fn command(self) -> Vec<&'static str> {
        match self {
            Self::ObeysSigterm => STOPS_ON_SIGTERM.into(),
            Self::IgnoresSigterm => IGNORES_SIGTERM.into(),
        }
    }
}

/// A number of Compose projects.
#[derive(Debug)]
pub(super) struct Deployment {
    pub(super) layout: Layout,
    pub(super) behavior: Behavior,
    /// The number of deckies.
    pub(super) deckies: usize,
}

impl Deployment {
    pub(super) fn new(layout: Layout, behavior: Behavior) -> Self {
        let deckies = match layout {
            Layout::OneProject => DECKIES,
            Layout::ManyProjects => PROJECTS,
        };
        Self {
            layout,
            behavior,
            deckies,
        }
    }

    /// Returns one project that contains `deckies` deckies, each with three containers.
    pub(super) fn with_deckies(deckies: usize) -> Self {
        Self {
            deckies,
            ..Self::new(Layout::OneProject, Behavior::IgnoresSigterm)
        }
    }

    /// Returns the names of the Compose projects.
    pub(super) fn projects(&self) -> Vec<String> {
        match self.layout {
            Layout::OneProject => vec!["decnet".to_owned()],
            Layout::ManyProjects => (0..self.deckies).map(|n| format!("trap-{n:02}")).collect(),
        }
    }

    /// Returns the Compose file of each project.
    pub(super) fn compose_file(&self) -> String {
        let command = serde_json::json!(self.behavior.command());
        let mut yaml = format!(
            "x-service: &service\n  image: {IMAGE}\n  command: {command}\n  \
             labels: {{ scuttle.managed: 'true' }}\nservices:\n"
        );
        // Writing to a string never fails.
        match self.layout {
            Layout::OneProject => {
                for number in 0..self.deckies {
                    let base = format!("decky-{number:03}");
                    let _ = writeln!(
                        yaml,
                        "  {base}: {{ <<: *service, container_name: {base}, network_mode: none }}"
                    );
                    for service in ["ssh", "http"] {
                        let name = format!("{base}-{service}");
                        let _ = writeln!(
                            yaml,
                            "  {name}: {{ <<: *service, container_name: {name}, \
                             network_mode: 'service:{base}' }}"
                        );
                    }
                }
            }
            Layout::ManyProjects => {
                for service in ["ssh", "http"] {
                    let _ = writeln!(yaml, "  {service}: {{ <<: *service, network_mode: none }}");
                }
            }
        }
        yaml
    }

    /// Starts all containers with Compose.
    pub(super) async fn start(&self, daemon: &Daemon) -> Result<()> {
        let yaml = self.compose_file();
        let start =
            async |project: String| daemon.compose(&project, &yaml, &["up", "--detach"]).await;
        let projects = stream::iter(self.projects());
        projects
            .map(start)
            .buffer_unordered(STARTS)
            .try_collect()
            .await
    }
}
