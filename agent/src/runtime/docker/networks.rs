//! The removal of networks during a teardown. A network is removed when it has no endpoints. A
//! network that other containers use is kept, and the report names the network and these
//! containers.

use std::time::Duration;

use bollard::models::Network;
use scuttle_schemas::DeckyId;
use tokio::time::Instant;

use super::container::{MANAGED_LABEL, PROJECT_LABEL};
use super::deckies::{DECNET_NETWORK, Deckies, Preset, ProjectFilter};
use super::engine::EngineError;
use super::engine_retry::{RETRY_DELAY, RetryingEngine};
use super::report::{Leftover, Targets};

/// The removal of the networks that belong to the targets of a teardown.
pub(super) struct NetworkRemoval<'a> {
    pub(super) engine: &'a RetryingEngine,
    pub(super) preset: &'a Preset,
    /// Whether the target is the whole host.
    pub(super) is_whole_host: bool,
    pub(super) targets: &'a Targets,
    /// The deckies at the start of the teardown.
    pub(super) before: &'a Deckies,
}

/// A network to remove.
struct TargetNetwork {
    id: String,
    name: String,
    /// The decky that the network belongs to, if it belongs to exactly one.
    decky: Option<DeckyId>,
}

impl NetworkRemoval<'_> {
    /// Removes the networks and returns those that are left. If the networks cannot be listed,
    /// returns only the error. The removal of a network with endpoints is retried until `timeout`
    /// has passed.
    pub(super) async fn run(&self, timeout: Duration) -> Vec<Leftover> {
        let networks = match self.list_targets().await {
            Ok(networks) => networks,
            Err(error) => return vec![Leftover::new(error.to_string())],
        };
        let mut leftovers = Vec::new();
        let end = Instant::now() + timeout;
        for network in networks {
            if let Err(error) = self.remove(&network.id, end).await {
                leftovers.push(if error.has_active_endpoints() {
                    self.describe_endpoints(network).await
                } else {
                    let error = error.to_string().replace(&network.id, &network.name);
                    Leftover {
                        decky: network.decky,
                        ..Leftover::new(error)
                    }
                });
            }
        }
        leftovers
    }

    async fn list_targets(&self) -> Result<Vec<TargetNetwork>, EngineError> {
        let mut networks = Vec::new();
        let mut add = |decky: Option<DeckyId>, network: Network| {
            if let (Some(id), Some(name)) = (network.id, network.name) {
                networks.push(TargetNetwork { id, name, decky });
            }
        };
        match self.preset {
            Preset::Compose(filter) => {
                for network in self.list("label", PROJECT_LABEL).await? {
                    let project = get_label(&network, PROJECT_LABEL).to_owned();
                    let is_selected = match filter {
                        ProjectFilter::Managed => get_label(&network, MANAGED_LABEL) == "true",
                        ProjectFilter::Prefixed(prefix) => project.starts_with(prefix),
                    };
                    let has_containers = self.before.projects.contains(&project);
                    match self.targets.get_key_value(project.as_str()) {
                        // If the target has no containers but the project of that name has some,
                        // the project does not belong to the swarm.
                        Some((decky, members)) if !members.is_empty() || !has_containers => {
                            add(Some(decky.clone()), network);
                        }
                        // A network without containers, which an earlier teardown could not remove.
                        None if self.is_whole_host && is_selected && !has_containers => {
                            add(None, network);
                        }
                        _ => {}
                    }
                }
            }
            // All deckies share the networks.
            Preset::Decnet { .. } if !self.is_whole_host => {}
            Preset::Decnet { project } => {
                let label = format!("{PROJECT_LABEL}={project}");
                for network in self.list("label", &label).await? {
                    add(None, network);
                }
                // The filter also matches parts of names.
                for network in self.list("name", DECNET_NETWORK).await? {
                    let has_name = network.name.as_deref() == Some(DECNET_NETWORK);
                    let is_listed = get_label(&network, PROJECT_LABEL) == project;
                    if has_name && !is_listed {
                        add(None, network);
                    }
                }
            }
        }
        Ok(networks)
    }

    async fn list(&self, filter: &str, value: &str) -> Result<Vec<Network>, EngineError> {
        (self.engine)
            .call(|engine| async move { engine.list_networks(filter, value).await })
            .await
    }

    async fn remove(&self, id: &str, end: Instant) -> Result<(), EngineError> {
        loop {
            let removed = (self.engine)
                .call(|engine| async move { engine.remove_network(id).await })
                .await;
            match removed {
                Err(error) if error.is_not_found() => return Ok(()),
                Err(error) if error.has_active_endpoints() && Instant::now() < end => {
                    tokio::time::sleep(RETRY_DELAY).await;
                }
                removed => return removed,
            }
        }
    }

    async fn describe_endpoints(&self, network: TargetNetwork) -> Leftover {
        let id = &network.id;
        let endpoints = (self.engine)
            .call(|engine| async move { engine.list_endpoints(id).await })
            .await;
        let users = endpoints.unwrap_or_default();
        let is_target = |name: &String| {
            let mut members = self.targets.values().flatten();
            members.any(|member| member.container.name == *name)
        };
        Leftover {
            decky: network.decky,
            error: format!(
                "network {} has active endpoints ({})",
                network.name,
                users.join(", ")
            ),
            used_by_others: !users.is_empty() && !users.iter().any(is_target),
        }
    }
}

fn get_label<'a>(network: &'a Network, name: &str) -> &'a str {
    let labels = network.labels.as_ref();
    labels
        .and_then(|labels| labels.get(name))
        .map_or("", String::as_str)
}
