//! The rule that determines the deckies of a host, as the operator chooses it.

use super::engine::container::{MANAGED_LABEL, PROJECT_LABEL};

/// The rule that determines the deckies of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Preset {
    /// Each Compose project that the filter selects is a decky.
    Compose(ProjectFilter),
    /// One Compose project contains all deckies. Each decky has a base container, whose name is the
    /// name of the decky. Its service containers share the network of the base container.
    Decnet { project: String },
}

/// Selects the Compose projects that are deckies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProjectFilter {
    /// The projects with a container or a network that has the label `scuttle.managed=true`, and
    /// the projects that had one earlier.
    Managed,
    /// The projects whose name has this prefix.
    Prefixed(String),
}

impl Preset {
    /// Returns the label (`key` or `key=value`) of the containers and networks to list.
    pub(super) fn label_filter(&self) -> String {
        match self {
            Self::Compose(_) => PROJECT_LABEL.to_owned(),
            Self::Decnet { project } => format!("{PROJECT_LABEL}={project}"),
        }
    }

    /// Returns whether containers of a Compose project may belong to a decky.
    pub(super) fn covers(&self, project: &str) -> bool {
        match self {
            Self::Compose(_) => true,
            Self::Decnet { project: fleet } => fleet == project,
        }
    }

    /// Returns the string that identifies this rule in the register.
    pub(super) fn to_rule(&self) -> String {
        match self {
            Self::Compose(ProjectFilter::Managed) => format!("label {MANAGED_LABEL}"),
            Self::Compose(ProjectFilter::Prefixed(prefix)) => format!("prefix {prefix}"),
            Self::Decnet { project } => format!("decnet project {project}"),
        }
    }
}
