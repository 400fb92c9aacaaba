//! The removal of networks during a teardown. A network is removed when it has no endpoints. A
//! network that other containers use is kept, and the error names the network and these containers.

use tokio::time::Instant;

use super::super::container::PROJECT_LABEL;
use super::super::deckies::DECNET_NETWORK;
use super::super::engine::EngineError;
use super::super::engine_retry::{RETRY_DELAY, RetryingEngine};
use super::super::listing::{ListedNetwork, to_listed_network};
use super::context::ENDPOINT_TIMEOUT;
use super::outcome::Leftover;

/// Removes a network. While it has active endpoints of the teardown's containers, or of none that
/// the Engine lists, the removal is retried until `end`. Returns the error if the network is left.
pub(super) async fn remove(
    engine: &RetryingEngine,
    network: &ListedNetwork,
    own_containers: &[&str],
    end: Instant,
) -> Result<(), String> {
    let ListedNetwork { id, name, .. } = network;
    loop {
        let removed = engine
            .call(|engine| async move { engine.remove_network(id).await })
            .await;
        let error = match removed {
            Ok(()) => return Ok(()),
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) => error,
        };
        let mut text = error.to_string().replace(id, name);
        if error.has_active_endpoints() {
            let users = list_endpoints(engine, id).await;
            let is_foreign = |user: &String| !own_containers.contains(&user.as_str());
            let is_used_by_others = !users.is_empty() && users.iter().all(is_foreign);
            text = format!("network {name} has active endpoints");
            if !users.is_empty() {
                text = format!("{text} ({})", users.join(", "));
            }
            // Waiting does not help while other containers use the network.
            if is_used_by_others {
                return Err(text);
            }
        }
        if error.is_unreachable() || Instant::now() >= end {
            return Err(text);
        }
        tokio::time::sleep(RETRY_DELAY).await;
    }
}

/// Removes the networks that the deckies of a `decnet` host share. Returns the errors.
pub(super) async fn remove_fleet_networks(engine: &RetryingEngine, project: &str) -> Vec<Leftover> {
    let networks = match list_fleet_networks(engine, project).await {
        Ok(networks) => networks,
        Err(error) => return vec![Leftover(error.to_string())],
    };
    let end = Instant::now() + ENDPOINT_TIMEOUT;
    let mut errors = Vec::new();
    for network in networks {
        let removed = remove(engine, &network, &[], end).await;
        errors.extend(removed.err().map(Leftover));
    }
    errors
}

async fn list_fleet_networks(
    engine: &RetryingEngine,
    project: &str,
) -> Result<Vec<ListedNetwork>, EngineError> {
    let label = &format!("{PROJECT_LABEL}={project}");
    let mut listed = engine
        .call(|engine| async move { engine.list_networks("label", label).await })
        .await?;
    let named = engine
        .call(|engine| async move { engine.list_networks("name", DECNET_NETWORK).await })
        .await?;
    // The filter also matches parts of names.
    let mut named = named.into_iter();
    listed.extend(named.find(|network| network.name.as_deref() == Some(DECNET_NETWORK)));
    let mut networks: Vec<_> = listed.into_iter().filter_map(to_listed_network).collect();
    networks.sort_by(|a, b| a.id.cmp(&b.id));
    networks.dedup_by(|a, b| a.id == b.id);
    Ok(networks)
}

async fn list_endpoints(engine: &RetryingEngine, network: &str) -> Vec<String> {
    let endpoints = engine
        .call(|engine| async move { engine.list_endpoints(network).await })
        .await;
    endpoints.unwrap_or_default()
}
