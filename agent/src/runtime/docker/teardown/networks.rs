//! The removal of networks during a teardown. A network is removed when it has no endpoints. A
//! network that other containers use is kept, and the error names the network and these containers.

use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::super::deckies::grouping::DECNET_NETWORK;
use super::super::deckies::listing::{ListedNetwork, to_listed_network};
use super::super::engine::client::EngineError;
use super::super::engine::container::PROJECT_LABEL;
use super::super::engine::retry::{RETRY_DELAY, RetryingEngine};
use super::context::{ENDPOINT_TIMEOUT, TeardownContext};
use super::outcome::{Leftover, Targets};

/// The hint for a network that the Engine reports as in use, but for which it lists no endpoints.
/// Some versions of the Engine miscount endpoints that are released at the same time (moby/moby
/// issue 42119), and correct the count only at startup.
const COUNT_HINT: &str = "if no Swarm service uses the network, restart the Docker Engine";

/// Removes a network. Retries for `ENDPOINT_TIMEOUT`, unless the Engine is unreachable or the
/// network is used only by containers outside `own_containers`. Returns the error if the network
/// could not be removed.
pub(super) async fn remove(
    engine: &RetryingEngine,
    removals: &Semaphore,
    network: &ListedNetwork,
    own_containers: &[&str],
) -> Result<(), String> {
    let ListedNetwork { id, name, .. } = network;
    let mut end = None;
    loop {
        let permit = removals.acquire().await;
        let end = *end.get_or_insert_with(|| Instant::now() + ENDPOINT_TIMEOUT);
        let removed = engine
            .call(|engine| async move { engine.remove_network(id).await })
            .await;
        drop(permit);
        let error = match removed {
            Ok(()) => return Ok(()),
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) => error,
        };
        let mut text = error.to_string().replace(id, name);
        if error.has_active_endpoints() {
            text = format!("network {name} has active endpoints");
            match list_endpoints(engine, id).await {
                Ok(users) if users.is_empty() => {
                    text = format!("{text}, but the Engine lists none; {COUNT_HINT}");
                }
                Ok(users) => {
                    text = format!("{text} ({})", users.join(", "));
                    // Waiting does not help while only other containers use the network.
                    let is_own = |user: &String| own_containers.contains(&user.as_str());
                    if !users.iter().any(is_own) {
                        return Err(text);
                    }
                }
                Err(_) => {}
            }
        }
        if error.is_unreachable() || Instant::now() >= end {
            return Err(text);
        }
        tokio::time::sleep(RETRY_DELAY).await;
    }
}

/// Removes the networks that the deckies of a `decnet` host share. A network that is left is noted.
/// Returns the errors.
pub(super) async fn remove_fleet(
    engine: &RetryingEngine,
    context: TeardownContext<'_>,
    project: &str,
    targets: &Targets,
) -> Vec<Leftover> {
    let networks = match list_fleet_networks(engine, project).await {
        Ok(networks) => networks,
        Err(error) => return vec![Leftover(error.to_string())],
    };
    let members = targets.values().flat_map(|decky| &decky.members);
    let own_containers: Vec<_> = members
        .map(|member| member.container.name.as_str())
        .collect();
    let mut errors = Vec::new();
    for network in networks {
        let object = format!("network {}", network.name);
        match remove(engine, context.removals, &network, &own_containers).await {
            Ok(()) => context.notes.clear(&object),
            Err(error) => {
                context.notes.set(&object, &error);
                errors.push(Leftover(error));
            }
        }
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

async fn list_endpoints(
    engine: &RetryingEngine,
    network: &str,
) -> Result<Vec<String>, EngineError> {
    engine
        .call(|engine| async move { engine.list_endpoints(network).await })
        .await
}
