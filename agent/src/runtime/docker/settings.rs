//! The settings of the Docker runtime. The options that set them are in the program
//! `scuttle-agent`.

use std::path::PathBuf;
use std::time::Duration;

use super::preset::Preset;

/// The settings of the Docker runtime of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DockerSettings {
    /// The path of the Docker Engine's socket.
    pub socket: PathBuf,
    /// The rule that determines the deckies.
    pub preset: Preset,
    /// The grace period, between the stop signal and the kill, of a container that has no
    /// `stop_grace_period`.
    pub grace: Duration,
    /// The maximum grace period of a container that has a `stop_grace_period`.
    pub max_grace: Duration,
    /// The maximum number of containers and networks that are removed at the same time.
    pub parallel: usize,
    /// Whether to remove the named volumes that Compose created for the removed deckies, unless
    /// other containers use them.
    pub remove_volumes: bool,
    /// Whether to remove the images of removed deckies, unless other containers use them.
    pub remove_images: bool,
}
