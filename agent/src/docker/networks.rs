//! The second half of a teardown: networks. One goes when it has no endpoints; one that others use stays, and is named with
//! its users.

use std::time::Duration;

use bollard::models::Network;
use scuttle_schemas::DeckyId;
use tokio::time::Instant;

use super::container::{MANAGED, PROJECT};
use super::deckies::{DECNET_NETWORK, Deckies, Preset, Projects};
use super::engine::EngineError;
use super::report::{Left, Targets};
use super::teardown::{Job, RETRY};

impl Job {
    /// Removes the networks that go with the targets; each that has endpoints is tried again for `patience`. Returns what
    /// is left, and of which decky, if it is one's own.
    pub(super) async fn remove_networks(
        &self,
        targets: &Targets,
        before: &Deckies,
        patience: Duration,
    ) -> Vec<Left> {
        let networks = match self.networks(targets, before).await {
            Ok(networks) => networks,
            Err(error) => return vec![Left::of_none(error.to_string())],
        };
        let mut left = Vec::new();
        let end = Instant::now() + patience;
        for (decky, id, name) in networks {
            if let Err(error) = self.remove_network(&id, end).await {
                left.push(if error.has_active_endpoints() {
                    self.has_endpoints(targets, decky, &id, &name).await
                } else {
                    Left {
                        decky,
                        ..Left::of_none(error.to_string().replace(&id, &name))
                    }
                });
            }
        }
        left
    }

    /// Those that go with the targets: of which decky, id and name.
    async fn networks(
        &self,
        targets: &Targets,
        before: &Deckies,
    ) -> Result<Vec<(Option<DeckyId>, String, String)>, EngineError> {
        let whole = self.target.is_none();
        let mut networks = Vec::new();
        let mut add = |decky: Option<DeckyId>, network: Network| {
            if let (Some(id), Some(name)) = (network.id, network.name) {
                networks.push((decky, id, name));
            }
        };
        let list = |kind, value| {
            self.patiently(move |engine| async move { engine.networks((kind, value)).await })
        };
        match &self.settings.preset {
            Preset::Compose(projects) => {
                for network in list("label", PROJECT).await? {
                    let project = label(&network, PROJECT).to_owned();
                    let ours = match projects {
                        Projects::Managed => label(&network, MANAGED) == "true",
                        Projects::Prefixed(prefix) => project.starts_with(prefix),
                    };
                    match targets.get_key_value(project.as_str()) {
                        // A target of which nothing was seen may be a project of somebody else's.
                        Some((decky, members))
                            if !members.is_empty() || !before.projects.contains(&project) =>
                        {
                            add(Some(decky.clone()), network);
                        }
                        // Nobody's containers: an earlier teardown could not remove it.
                        None if whole && ours && !before.projects.contains(&project) => {
                            add(None, network);
                        }
                        _ => {}
                    }
                }
            }
            // All deckies share them.
            Preset::Decnet { .. } if !whole => {}
            Preset::Decnet { project } => {
                let of_project = format!("{PROJECT}={project}");
                for network in list("label", of_project.as_str()).await? {
                    add(None, network);
                }
                // This filter finds parts of names too.
                for network in list("name", DECNET_NETWORK).await? {
                    let is_it = network.name.as_deref() == Some(DECNET_NETWORK);
                    // It may have been listed as the project's already.
                    let listed = label(&network, PROJECT) == project;
                    if is_it && !listed {
                        add(None, network);
                    }
                }
            }
        }
        Ok(networks)
    }

    async fn remove_network(&self, id: &str, end: Instant) -> Result<(), EngineError> {
        loop {
            let removed = self.patiently(|engine| async move { engine.remove_network(id).await });
            match removed.await {
                Err(error) if error.is_not_found() => return Ok(()),
                Err(error) if error.has_active_endpoints() && Instant::now() < end => {
                    tokio::time::sleep(RETRY).await;
                }
                ended => return ended,
            }
        }
    }

    async fn has_endpoints(
        &self,
        targets: &Targets,
        decky: Option<DeckyId>,
        id: &str,
        name: &str,
    ) -> Left {
        let endpoints = self.patiently(|engine| async move { engine.endpoints(id).await });
        let whose = endpoints.await.unwrap_or_default();
        let ours = |name: &String| {
            let mut members = targets.values().flatten();
            members.any(|member| member.container.name == *name)
        };
        Left {
            decky,
            error: format!("network {name} has active endpoints ({})", whose.join(", ")),
            used_by_others: !whose.is_empty() && !whose.iter().any(ours),
        }
    }
}

fn label<'a>(network: &'a Network, name: &str) -> &'a str {
    let labels = network.labels.as_ref();
    labels
        .and_then(|labels| labels.get(name))
        .map_or("", String::as_str)
}
