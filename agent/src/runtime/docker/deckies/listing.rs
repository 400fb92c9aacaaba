//! The containers and networks of the Engine that may belong to deckies, as last listed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use bollard::models::Network;

use super::super::engine::client::{Engine, EngineError, Listing};
use super::super::engine::container::{
    Container, MANAGED_LABEL, PROJECT_LABEL, UnreadableContainer,
};
use super::super::preset::Preset;

/// A network of a Compose project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListedNetwork {
    pub(crate) id: String,
    pub(crate) name: String,
    /// The Compose project. Empty if Compose did not create the network.
    pub(crate) project: String,
    /// Whether the network has the label `scuttle.managed=true`.
    pub(crate) managed: bool,
}

/// The containers and networks of the Engine that may belong to deckies.
#[derive(Debug, Clone)]
pub(crate) struct Listed {
    /// The start of the last listing.
    pub(crate) started: Instant,
    /// Whether everything was listed at `started`, and not only what had changed.
    pub(crate) is_full: bool,
    /// The containers by id.
    pub(crate) containers: BTreeMap<String, Container>,
    pub(crate) networks: Vec<ListedNetwork>,
    pub(crate) unreadable: Vec<UnreadableContainer>,
}

impl Listed {
    /// Lists all containers and networks.
    pub(crate) async fn read(engine: &Engine, preset: &Preset) -> Result<Self, EngineError> {
        let started = Instant::now();
        let filter = preset.label_filter();
        // The networks come last: a network that is left without containers is then really listed.
        let Listing {
            containers,
            unreadable,
        } = engine.list_containers(&filter).await?;
        let containers = containers.into_iter().filter_map(Container::from_listed);
        Ok(Self {
            started,
            is_full: true,
            containers: containers
                .map(|container| (container.id.clone(), container))
                .collect(),
            networks: list_networks(engine, preset).await?,
            unreadable,
        })
    }

    /// Lists these containers again.
    pub(crate) async fn refresh_containers(
        &mut self,
        engine: &Engine,
        preset: &Preset,
        ids: &BTreeSet<String>,
    ) -> Result<(), EngineError> {
        self.start_refresh();
        let keys: Vec<_> = ids.iter().map(String::as_str).collect();
        let listing = engine.list_containers_by_id(&keys).await?;
        for id in ids {
            self.containers.remove(id);
        }
        for unreadable in listing.unreadable {
            if !self.unreadable.contains(&unreadable) {
                self.unreadable.push(unreadable);
            }
        }
        for listed in listing.containers {
            if let Some(container) = Container::from_listed(listed)
                && preset.covers(&container.project)
            {
                self.containers.insert(container.id.clone(), container);
            }
        }
        Ok(())
    }

    /// Lists the networks again.
    pub(crate) async fn refresh_networks(
        &mut self,
        engine: &Engine,
        preset: &Preset,
    ) -> Result<(), EngineError> {
        self.start_refresh();
        self.networks = list_networks(engine, preset).await?;
        Ok(())
    }

    /// Returns whether a container or a network has this id.
    pub(crate) fn has_object(&self, id: &str) -> bool {
        self.containers.contains_key(id) || self.networks.iter().any(|network| network.id == id)
    }

    fn start_refresh(&mut self) {
        self.started = Instant::now();
        self.is_full = false;
    }
}

/// Lists the networks of Compose projects, sorted by name.
async fn list_networks(
    engine: &Engine,
    preset: &Preset,
) -> Result<Vec<ListedNetwork>, EngineError> {
    let listed = engine
        .list_networks("label", &preset.label_filter())
        .await?;
    let mut networks: Vec<_> = listed.into_iter().filter_map(to_listed_network).collect();
    networks.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(networks)
}

/// Reads an entry of a listing. Returns `None` if the entry has no id or no name.
pub(crate) fn to_listed_network(network: Network) -> Option<ListedNetwork> {
    let mut labels = network.labels.unwrap_or_default();
    Some(ListedNetwork {
        id: network.id?,
        name: network.name?,
        project: labels.remove(PROJECT_LABEL).unwrap_or_default(),
        managed: labels.remove(MANAGED_LABEL).as_deref() == Some("true"),
    })
}
