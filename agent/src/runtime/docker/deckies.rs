//! Groups containers into deckies, and derives the inventory entry of each decky. The rules are
//! pure functions of a listing of containers.

use std::collections::{BTreeMap, HashSet};

use scuttle_schemas::agents::{ReportedShard, ReportedState};
use scuttle_schemas::{DeckyId, Labels, Services};

use super::container::{Condition, Container, PROJECT_LABEL};

/// The network that all deckies of a `decnet` host share. It is removed only with the whole host.
pub(super) const DECNET_NETWORK: &str = "decnet_lan";

/// The maximum number of services that the inventory lists for a decky.
const MAX_SERVICES: usize = 32;
const MAX_SERVICE_CHARS: usize = 64;

/// The rule that determines the deckies of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Preset {
    /// Each Compose project that the filter selects is a decky.
    Compose(ProjectFilter),
    /// One Compose project contains all deckies. The containers of a decky are named
    /// `<decky>-<service>`.
    Decnet { project: String },
}

/// The condition that selects the Compose projects that are deckies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProjectFilter {
    /// The projects with at least one container that has the label `scuttle.managed=true`.
    Managed,
    /// The projects whose name has this prefix.
    Prefixed(String),
}

/// A container of a decky.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) container: Container,
    /// The service that the container provides, if any.
    pub(super) service: Option<String>,
    /// Whether the container is the anchor, which identifies the decky as part of this swarm. The
    /// anchor is removed after all other containers and after the networks, so that an agent that
    /// was killed during the teardown finds the decky again.
    pub(super) is_anchor: bool,
}

/// The deckies of this host at one moment.
#[derive(Debug, Clone, Default)]
pub(super) struct Deckies {
    pub(super) members: BTreeMap<DeckyId, Vec<Member>>,
    /// The names that were rejected because they are not valid decky names. The containers with
    /// these names are ignored.
    pub(super) invalid_names: Vec<String>,
    /// All Compose projects that have listed containers, including those that are not deckies.
    pub(super) projects: HashSet<String>,
}

impl Preset {
    /// Returns the label that selects the containers to list, as `key` or `key=value`.
    pub(super) fn label_filter(&self) -> String {
        match self {
            Self::Compose(_) => PROJECT_LABEL.to_owned(),
            Self::Decnet { project } => format!("{PROJECT_LABEL}={project}"),
        }
    }

    /// Groups the containers of a listing by decky.
    pub(super) fn group_by_decky(&self, mut containers: Vec<Container>) -> Deckies {
        containers.sort_by(|a, b| a.name.cmp(&b.name));
        let mut named: BTreeMap<String, Vec<Member>> = BTreeMap::new();
        let projects = containers
            .iter()
            .map(|container| container.project.clone())
            .collect();
        match self {
            Self::Compose(_) => {
                for container in containers {
                    let service = Some(container.service.clone()).filter(|name| !name.is_empty());
                    let members = named.entry(container.project.clone()).or_default();
                    members.push(Member {
                        container,
                        service,
                        is_anchor: false,
                    });
                }
            }
            Self::Decnet { .. } => {
                let parts: Vec<_> = (containers.iter())
                    .map(|container| decky_and_service(container, &containers))
                    .collect();
                for (container, (decky, service)) in containers.into_iter().zip(parts) {
                    named.entry(decky).or_default().push(Member {
                        container,
                        service,
                        is_anchor: false,
                    });
                }
            }
        }
        if let Self::Compose(filter) = self {
            named.retain(|name, members| match filter {
                ProjectFilter::Managed => members.iter().any(|member| member.container.managed),
                ProjectFilter::Prefixed(prefix) => name.starts_with(prefix),
            });
        }
        let mut deckies = Deckies {
            projects,
            ..Deckies::default()
        };
        for (name, mut members) in named {
            match name.parse() {
                Ok(decky) => {
                    self.set_anchor(&mut members);
                    deckies.members.insert(decky, members);
                }
                Err(_) => deckies.invalid_names.push(name),
            }
        }
        deckies
    }

    fn set_anchor(&self, members: &mut [Member]) {
        let identifies_decky = |member: &Member| match self {
            Self::Compose(ProjectFilter::Managed) => member.container.managed,
            Self::Compose(ProjectFilter::Prefixed(_)) => true,
            // The Compose service of such a container names its base container. A base container
            // alone could be mistaken for the service of another decky.
            Self::Decnet { .. } => member.service.is_some(),
        };
        let anchor = members
            .iter()
            .position(identifies_decky)
            .unwrap_or_default();
        if let Some(member) = members.get_mut(anchor) {
            member.is_anchor = true;
        }
    }
}

impl Deckies {
    /// Returns the containers of a decky, including the container that has the decky's name, if
    /// any. In a `decnet` project, this base container may have been grouped as a service of
    /// another decky after its own service containers were removed.
    pub(super) fn members_of(&self, decky: &DeckyId) -> Vec<Member> {
        let mut members = self.members.get(decky).cloned().unwrap_or_default();
        let base = (self.members.values().flatten())
            .find(|member| member.container.name == decky.as_str())
            .filter(|base| {
                members
                    .iter()
                    .all(|member| member.container.id != base.container.id)
            });
        members.extend(base.cloned().map(|base| Member {
            is_anchor: true,
            ..base
        }));
        members
    }

    pub(super) fn to_reported_shards(&self) -> Vec<ReportedShard> {
        let to_shard = |(decky_id, members): (&DeckyId, &Vec<Member>)| ReportedShard {
            decky_id: decky_id.clone(),
            state: to_state(members),
            services: to_services(members),
            decky_ip: choose_address(members),
            labels: Labels::default(),
        };
        self.members.iter().map(to_shard).collect()
    }
}

/// Returns the decky and the service of a container of a `decnet` project.
///
/// Each decky has a base container with the name of the decky. The service containers of the decky
/// share the network of the base container. If the base container is gone, the Compose service name
/// or the Compose dependencies may show where the service begins in the name. Otherwise, the name
/// is split at the last `-` of the Compose service name, because Compose service names have `_`
/// where a service has `-`.
fn decky_and_service(container: &Container, all: &[Container]) -> (String, Option<String>) {
    let Container { name, service, .. } = container;
    let find_base = |container: &Container| {
        let id = container.shares_network_of.as_deref()?;
        all.iter().find(|other| other.id == id)
    };
    let split_after = |decky: &str| {
        let rest = service.strip_prefix(decky).or(name.strip_prefix(decky));
        let rest = rest.and_then(|rest| rest.strip_prefix('-'));
        (decky.to_owned(), Some(rest.unwrap_or(service).to_owned()))
    };
    if let Some(base) = find_base(container) {
        return split_after(&base.name);
    }
    let suffix = format!("-{}", service.replace('_', "-"));
    if let Some(decky) = name.strip_suffix(&suffix).filter(|rest| !rest.is_empty()) {
        return (decky.to_owned(), Some(service.clone()));
    }
    let is_base_name = |dependency: &&String| {
        let rest = service.strip_prefix(dependency.as_str());
        rest.is_some_and(|rest| rest.starts_with('-'))
    };
    if let Some(base) = container.depends_on.iter().find(is_base_name) {
        return split_after(base);
    }
    // If some containers share a network, one that does not is a base container. And `decky-01` is
    // not the service `01` of `decky`.
    let is_base = container.shares_network_of.is_none()
        && all.iter().any(|other| other.shares_network_of.is_some());
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let key = if service.is_empty() { name } else { service };
    match key.rsplit_once('-') {
        Some((decky, service)) if !decky.is_empty() && !is_base && !is_number(service) => {
            (decky.to_owned(), Some(service.to_owned()))
        }
        _ => (name.clone(), None),
    }
}

/// Returns the state of a decky. A decky with stopped containers is `degraded`, even if all of them
/// are stopped. A decky is `failed` only if a container is dead.
fn to_state(members: &[Member]) -> ReportedState {
    let worst = members.iter().map(|member| member.container.condition);
    match worst.max() {
        Some(Condition::Dead) => ReportedState::Failed,
        Some(Condition::Stopped | Condition::Unhealthy) => ReportedState::Degraded,
        Some(Condition::Starting) => ReportedState::Pending,
        Some(Condition::Running) | None => ReportedState::Running,
    }
}

fn to_services(members: &[Member]) -> Services {
    let mut names: Vec<_> = (members.iter())
        .filter_map(|member| member.service.clone())
        .filter(|name| (1..=MAX_SERVICE_CHARS).contains(&name.chars().count()))
        .collect();
    names.sort();
    names.dedup();
    names.truncate(MAX_SERVICES);
    Services::try_from(names).unwrap_or_default()
}

/// Returns the decky's address in the network that all `decnet` deckies share, or else its first
/// address, if it has any.
fn choose_address(members: &[Member]) -> Option<String> {
    let addresses = || {
        members
            .iter()
            .flat_map(|member| &member.container.addresses)
    };
    let shared = addresses().find(|(network, _)| network == DECNET_NETWORK);
    shared
        .or_else(|| addresses().next())
        .map(|(_, address)| address.clone())
}
