//! What an operator configures about the Docker Engine of a host.

use std::path::PathBuf;
use std::time::Duration;

use super::deckies::Preset;

/// What an operator configures about the Docker Engine of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DockerSettings {
    /// The socket of the Engine.
    pub socket: PathBuf,
    /// What counts as a decky.
    pub preset: Preset,
    /// How long a container may take to stop before it is killed.
    pub grace: Duration,
    /// How many containers are stopped or removed at the same time.
    pub parallel: usize,
    /// Also remove the named volumes of removed deckies, unless other containers use them.
    pub remove_volumes: bool,
    /// Also remove the images of removed deckies, unless other containers use them.
    pub remove_images: bool,
}
