//! The deckies that exist on the Engine now.

use super::container::Container;
use super::deckies::{Deckies, Preset};
use super::engine::{Engine, EngineError};

/// Lists the containers of the Engine and groups them by decky.
pub(super) async fn list_deckies(engine: &Engine, preset: &Preset) -> Result<Deckies, EngineError> {
    let listed = engine.list_containers(&preset.label_filter()).await?;
    let containers = listed
        .into_iter()
        .filter_map(Container::from_summary)
        .collect();
    Ok(preset.group_by_decky(containers))
}
