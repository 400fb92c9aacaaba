//! The settings of the Docker runtime. The options that set them are in the program
//! `scuttle-agent`.

use std::path::PathBuf;
use std::time::Duration;

use super::deckies::Preset;

/// The settings of the Docker runtime of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DockerSettings {
    /// The path of the Docker Engine's socket.
    pub socket: PathBuf,
    /// The rule that determines the deckies.
    pub preset: Preset,
    /// The time that a container may take to stop before it is killed.
    pub grace: Duration,
    /// The maximum number of containers that are stopped or removed at the same time.
    pub parallel: usize,
    /// Whether to remove the named volumes of removed deckies, unless other containers use them.
    pub remove_volumes: bool,
    /// Whether to remove the images of removed deckies, unless other containers use them.
    pub remove_images: bool,
}
