//! Groups the containers and networks of a listing into deckies, and derives the report of a decky.
//! The rules are pure functions of the listing and the register of known deckies.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use scuttle_schemas::agents::{ReportedShard, ReportedState};
use scuttle_schemas::{DeckyId, Note, Services};

use super::super::engine::container::{Condition, Container, MANAGED_LABEL, UnreadableContainer};
use super::super::preset::{Preset, ProjectFilter};
use super::labels::DeckyLabels;
use super::listing::{Listed, ListedNetwork};
use super::names::to_decky_id;
use super::register::{Register, SeenDecky};

/// The network that all deckies of a `decnet` host share. It is removed only with the whole host.
pub(crate) const DECNET_NETWORK: &str = "decnet_lan";

/// The maximum number of services in a report.
const MAX_SERVICES: usize = 32;
/// The maximum length of a service name in characters. Longer names are not reported.
const MAX_SERVICE_CHARS: usize = 64;

/// A container of a decky.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) container: Container,
    /// The service that the container provides, if any.
    pub(crate) service: Option<String>,
}

/// The containers and networks of a decky.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Decky {
    /// The Compose project, or the name of a `decnet` decky.
    pub(crate) name: String,
    pub(crate) members: Vec<Member>,
    /// The networks that belong to this decky alone.
    pub(crate) networks: Vec<ListedNetwork>,
    /// Whether the deployment has, or had, a container with the label `scuttle.protected=true`.
    pub(crate) protected: bool,
}

/// The deckies of this host at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Deckies {
    pub(crate) by_id: BTreeMap<DeckyId, Decky>,
    /// Descriptions of the Compose projects that are not deckies, by the id that each would have.
    pub(crate) foreign: BTreeMap<DeckyId, String>,
    pub(crate) unreadable: Vec<UnreadableContainer>,
}

/// Groups the containers and networks of a listing by decky.
pub(crate) fn group_by_decky(preset: &Preset, listed: &Listed, register: &Register) -> Deckies {
    let mut deckies = Deckies {
        unreadable: listed.unreadable.clone(),
        ..Deckies::default()
    };
    let mut containers: Vec<_> = listed.containers.values().collect();
    containers.sort_by(|a, b| a.name.cmp(&b.name));
    match preset {
        Preset::Compose(filter) => {
            let mut projects = BTreeMap::<&str, Decky>::new();
            for container in containers {
                let decky = projects.entry(&container.project).or_default();
                let service = Some(container.service.clone()).filter(|name| !name.is_empty());
                decky.members.push(Member {
                    container: container.clone(),
                    service,
                });
            }
            for network in &listed.networks {
                let decky = projects.entry(&network.project).or_default();
                decky.networks.push(network.clone());
            }
            for (name, decky) in projects {
                deckies.add_project(filter, register, name, decky);
            }
        }
        Preset::Decnet { .. } => {
            for container in &containers {
                let (name, service) = identify_fleet_decky(container, &containers, register);
                let decky = deckies.by_id.entry(to_decky_id(&name)).or_default();
                decky.name = name;
                decky.members.push(Member {
                    container: (*container).clone(),
                    service,
                });
            }
        }
    }
    for container in &listed.unreadable {
        deckies.add_unreadable(preset, register, container);
    }
    for (id, decky) in &mut deckies.by_id {
        let had_label = register.get(id).is_some_and(|known| known.protected);
        decky.protected = had_label || decky.has_protected_member();
    }
    deckies
}

impl Deckies {
    fn add_project(
        &mut self,
        filter: &ProjectFilter,
        register: &Register,
        name: &str,
        mut decky: Decky,
    ) {
        let id = to_decky_id(name);
        let is_decky = match filter {
            ProjectFilter::Managed => {
                (decky.members.iter()).any(|member| member.container.managed)
                    || decky.networks.iter().any(|network| network.managed)
                    || register.get(&id).is_some_and(|known| known.name == name)
            }
            ProjectFilter::Prefixed(prefix) => name.starts_with(prefix),
        };
        if is_decky {
            name.clone_into(&mut decky.name);
            self.by_id.insert(id, decky);
        } else if *filter == ProjectFilter::Managed {
            let (kind, objects): (_, Vec<_>) = if decky.members.is_empty() {
                let networks = decky.networks.iter();
                ("networks", networks.map(|network| &*network.name).collect())
            } else {
                let members = decky.members.iter();
                let names = members.map(|member| &*member.container.name);
                ("containers", names.collect())
            };
            let objects = objects.join(", ");
            let text =
                format!("project {name} has {kind} without the label {MANAGED_LABEL}: {objects}");
            self.foreign.insert(id, text);
        }
    }

    /// Adds the known deckies that an unreadable container may belong to, so that none of these
    /// deckies is reported as gone. Such a decky may have no members.
    fn add_unreadable(
        &mut self,
        preset: &Preset,
        register: &Register,
        container: &UnreadableContainer,
    ) {
        for (id, known) in register.iter() {
            if may_belong_to(preset, container, id) {
                let decky = self.by_id.entry(id.clone()).or_default();
                decky.name.clone_from(&known.name);
            }
        }
    }

    /// Returns an unreadable container that may belong to a decky.
    pub(crate) fn find_unreadable(
        &self,
        preset: &Preset,
        decky: &DeckyId,
    ) -> Option<&UnreadableContainer> {
        let mut unreadable = self.unreadable.iter();
        unreadable.find(|container| may_belong_to(preset, container, decky))
    }

    /// Returns the deckies in the form that the register compares with its entries.
    pub(crate) fn to_seen(&self) -> BTreeMap<DeckyId, SeenDecky> {
        let to_seen = |(id, decky): (&DeckyId, &Decky)| {
            let seen = SeenDecky {
                name: decky.name.clone(),
                containers: decky.container_ids().map(ToOwned::to_owned).collect(),
                protected: decky.has_protected_member(),
            };
            (id.clone(), seen)
        };
        self.by_id.iter().map(to_seen).collect()
    }

    /// Describes the labels of deckies that are not reported, one text for each decky.
    pub(crate) fn describe_ignored_labels(&self) -> impl Iterator<Item = String> {
        let deckies = self.by_id.iter();
        deckies.filter_map(|(id, decky)| decky.collect_labels().describe_ignored(id.as_str()))
    }

    pub(crate) fn to_reported_shards(&self, register: &Register) -> Vec<ReportedShard> {
        let to_shard = |(decky_id, decky): (&DeckyId, &Decky)| {
            let known = register.get(decky_id);
            let (state, reason) = decky.to_state();
            ReportedShard {
                decky_id: decky_id.clone(),
                state,
                services: to_services(&decky.members),
                decky_ip: choose_address(&decky.members),
                labels: decky.collect_labels().labels,
                deployment: known.and_then(|known| known.deployment.parse().ok()),
                reason: reason.as_deref().map(Note::from),
            }
        };
        self.by_id.iter().map(to_shard).collect()
    }
}

impl Decky {
    /// Returns the ids of the containers that Compose deployed. A container created by `docker
    /// compose run` is not part of a deployment.
    fn container_ids(&self) -> impl Iterator<Item = &str> {
        let containers = self.members.iter().map(|member| &member.container);
        containers
            .filter(|container| !container.one_off)
            .map(|container| container.id.as_str())
    }

    fn has_protected_member(&self) -> bool {
        self.members.iter().any(|member| member.container.protected)
    }

    /// Returns the state of the decky, and the reason for it unless it is `pending` or `running`.
    /// The state is:
    ///
    /// - `failed` if a container is dead, or if no readable container is left.
    /// - `degraded` if a container is stopped, paused or unhealthy, or if all containers were
    ///   created by `docker compose run`.
    /// - `pending` if a container is starting.
    /// - `running` otherwise.
    ///
    /// Completed containers are ignored. Containers created by `docker compose run` are ignored
    /// unless the decky has no others.
    fn to_state(&self) -> (ReportedState, Option<String>) {
        if self.members.is_empty() {
            let reason = "none of its containers is left or can be read";
            return (ReportedState::Failed, Some(reason.to_owned()));
        }
        let members = self.members.iter().map(|member| &member.container);
        let lasting =
            members.filter(|container| !container.one_off && !self.is_complete(container));
        let lasting: Vec<_> = lasting.collect();
        let worst = lasting.iter().map(|container| container.condition).max();
        match worst {
            Some(Condition::Dead) => (ReportedState::Failed, describe_problems(&lasting)),
            Some(Condition::Stopped | Condition::Unhealthy) => {
                (ReportedState::Degraded, describe_problems(&lasting))
            }
            Some(Condition::Starting) => (ReportedState::Pending, None),
            None if self.members.iter().all(|member| member.container.one_off) => {
                let reason = "only containers of `docker compose run` are left";
                (ReportedState::Degraded, Some(reason.to_owned()))
            }
            Some(Condition::Running) | None => (ReportedState::Running, None),
        }
    }

    /// Returns whether a container was meant to exit, and has exited with code 0.
    fn is_complete(&self, container: &Container) -> bool {
        let mut dependencies =
            (self.members.iter()).flat_map(|member| &member.container.depends_on);
        let is_awaited = dependencies
            .any(|dependency| dependency.must_complete && dependency.service == container.service);
        container.completed && (container.one_shot || is_awaited)
    }

    fn collect_labels(&self) -> DeckyLabels {
        let containers = self.members.iter().map(|member| &member.container);
        DeckyLabels::collect(containers, self.protected)
    }
}

/// Describes the problem of the container in the worst condition, and counts the others that have
/// one.
fn describe_problems(containers: &[&Container]) -> Option<String> {
    let with_problem = containers
        .iter()
        .filter(|container| container.problem.is_some());
    let mut with_problem: Vec<_> = with_problem.collect();
    // The sort is stable, and the containers are sorted by name.
    with_problem.sort_by_key(|container| Reverse(container.condition));
    let (worst, others) = with_problem.split_first()?;
    let problem = worst.problem.as_deref().unwrap_or_default();
    let others = match others.len() {
        0 => String::new(),
        1 => "; 1 other container has a problem".to_owned(),
        count => format!("; {count} other containers have problems"),
    };
    Some(format!("container {} {problem}{others}", worst.name))
}

/// Returns the name of the decky, and the service, of a container in a `decnet` project. A base
/// container has no service.
///
/// The label `scuttle.decky`, or else DECNET's own, names the decky. A label of DECNET names the
/// service. Without a label that names the decky, the first rule that applies decides:
///
/// 1. The container shares the network of a base container, which has the name of the decky.
/// 2. The register knows the decky of the container.
/// 3. The container name ends with the Compose service name, with `-` for each `_`
///    (`decky-01-docker-api` and `docker_api`). The rest is the name of the decky.
/// 4. A Compose dependency is a prefix of the Compose service name. It is the name of the decky.
/// 5. The container is a base container, even if its name contains `-`.
fn identify_fleet_decky(
    container: &Container,
    all: &[&Container],
    register: &Register,
) -> (String, Option<String>) {
    let Container { name, service, .. } = container;
    if let Some(decky) = &container.fleet_decky {
        return (decky.clone(), container.fleet_service.clone());
    }
    let split_after = |decky: &str| {
        let rest = service.strip_prefix(decky).or(name.strip_prefix(decky));
        let rest = rest.and_then(|rest| rest.strip_prefix('-'));
        (decky.to_owned(), Some(rest.unwrap_or(service).to_owned()))
    };
    let base = container.shares_network_of.as_deref();
    let base = base.and_then(|id| all.iter().find(|other| other.id == id));
    if let Some(base) = base {
        return split_after(base.fleet_decky.as_ref().unwrap_or(&base.name));
    }
    if let Some(decky) = register.find_by_container(&container.id) {
        return if decky == name {
            (name.clone(), None)
        } else {
            split_after(decky)
        };
    }
    let suffix = format!("-{}", service.replace('_', "-"));
    if let Some(decky) = name.strip_suffix(&suffix).filter(|rest| !rest.is_empty()) {
        return (decky.to_owned(), Some(service.clone()));
    }
    let is_base_name = |dependency: &&str| {
        let rest = service.strip_prefix(dependency);
        rest.is_some_and(|rest| rest.starts_with('-'))
    };
    let mut dependencies = (container.depends_on.iter()).map(|dependency| &*dependency.service);
    match dependencies.find(is_base_name) {
        Some(base) => split_after(base),
        None => (name.clone(), None),
    }
}

/// Returns whether an unreadable container may belong to a decky.
fn may_belong_to(preset: &Preset, container: &UnreadableContainer, decky: &DeckyId) -> bool {
    match (preset, &container.project) {
        (Preset::Compose(_), Some(project)) => to_decky_id(project) == *decky,
        _ => true,
    }
}

fn to_services(members: &[Member]) -> Services {
    let names: BTreeSet<_> = (members.iter())
        .filter_map(|member| member.service.as_ref())
        .filter(|name| (1..=MAX_SERVICE_CHARS).contains(&name.chars().count()))
        .collect();
    let names = names.into_iter().take(MAX_SERVICES).cloned();
    Services::try_from(names.collect::<Vec<_>>()).unwrap_or_default()
}

/// Returns the address in the shared network of the deckies, or else the first address.
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
