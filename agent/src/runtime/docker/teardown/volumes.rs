//! The removal of named volumes with `--remove-volumes`. Only volumes that Compose created for the
//! project of a decky are removed. A volume that is `external` in the Compose file has no label of
//! the project, and is kept.

use std::collections::BTreeSet;

use super::super::deckies::grouping::Decky;
use super::super::engine::container::PROJECT_LABEL;
use super::super::engine::retry::RetryingEngine;
use super::super::preset::Preset;
use super::context::TeardownContext;
use super::outcome::{Leftover, Targets};

/// Removes the volumes of the targets. A volume that a container still uses is kept and noted.
/// Returns the errors.
pub(super) async fn remove(
    engine: &RetryingEngine,
    context: TeardownContext<'_>,
    targets: &Targets,
) -> Vec<Leftover> {
    let mut errors = Vec::new();
    let mut volumes = BTreeSet::new();
    match &context.settings.preset {
        Preset::Compose(_) => {
            for decky in targets.values().filter(|decky| !decky.name.is_empty()) {
                volumes.extend(list(engine, &decky.name, &mut errors).await);
            }
        }
        // All deckies share the project, so only the volumes of the targets' containers are
        // removed.
        Preset::Decnet { project } => {
            let used: BTreeSet<_> = targets.values().flat_map(used_volumes).collect();
            let listed = list(engine, project, &mut errors).await;
            volumes.extend(
                listed
                    .into_iter()
                    .filter(|name| used.contains(name.as_str())),
            );
        }
    }
    for volume in &volumes {
        let object = format!("volume {volume}");
        let removed = engine
            .call(|engine| async move { engine.remove_volume(volume).await })
            .await;
        match removed {
            Err(error) if error.is_in_use() => {
                context
                    .notes
                    .set(&object, &format!("{object} is kept: a container uses it"));
            }
            Err(error) if !error.is_not_found() => errors.push(Leftover(error.to_string())),
            _ => context.notes.clear(&object),
        }
    }
    errors
}

fn used_volumes(decky: &Decky) -> impl Iterator<Item = &str> {
    let containers = decky.members.iter().map(|member| &member.container);
    containers.flat_map(|container| container.volumes.iter().map(String::as_str))
}

async fn list(engine: &RetryingEngine, project: &str, errors: &mut Vec<Leftover>) -> Vec<String> {
    let label = &format!("{PROJECT_LABEL}={project}");
    let listed = engine
        .call(|engine| async move { engine.list_volumes(label).await })
        .await;
    listed.unwrap_or_else(|error| {
        errors.push(Leftover(error.to_string()));
        Vec::new()
    })
}
