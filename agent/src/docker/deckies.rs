//! Which container belongs to which decky, and what a decky looks like from outside: pure rules over a listing.

use std::collections::{BTreeMap, HashSet};

use scuttle_schemas::agents::{ReportedShard, ReportedState};
use scuttle_schemas::{DeckyId, Labels, Services};

use super::container::{Condition, Container, PROJECT};

/// The network of a `decnet` host: it goes with the whole host alone.
pub(super) const DECNET_NETWORK: &str = "decnet_lan";

/// The most services that a report may name, and the longest name, in characters.
const MOST_SERVICES: usize = 32;
const LONGEST_SERVICE: usize = 64;

/// What a decky is on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Preset {
    /// One decky is one Compose project.
    Compose(Projects),
    /// One Compose project holds all deckies; a decky is the containers named `<decky>-<service>`.
    Decnet {
        /// The project.
        project: String,
    },
}

/// Which Compose projects are deckies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Projects {
    /// Those of which a container carries the label `scuttle.managed=true`.
    Managed,
    /// Those whose name begins so.
    Prefixed(String),
}

/// A container of a decky.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) container: Container,
    /// Which service it is, if it is one.
    pub(super) service: Option<String>,
    /// It is removed after all others and after the networks, because by it the rest is known as a decky of this
    /// swarm: an agent that was killed finds the decky again.
    pub(super) anchor: bool,
}

/// All that belongs to the swarm on this host at one moment.
#[derive(Debug, Clone, Default)]
pub(super) struct Deckies {
    pub(super) members: BTreeMap<DeckyId, Vec<Member>>,
    /// Names that no decky may have, of what is therefore left alone.
    pub(super) unnamed: Vec<String>,
    /// Every Compose project that has a container, the swarm's or not.
    pub(super) projects: HashSet<String>,
}

impl Preset {
    /// The label of the containers among which deckies are.
    pub(super) fn label(&self) -> String {
        match self {
            Self::Compose(_) => PROJECT.to_owned(),
            Self::Decnet { project } => format!("{PROJECT}={project}"),
        }
    }

    /// Sorts a listing by decky.
    pub(super) fn sort(&self, mut containers: Vec<Container>) -> Deckies {
        containers.sort_by(|a, b| a.name.cmp(&b.name));
        let mut named: BTreeMap<String, Vec<Member>> = BTreeMap::new();
        let projects = (containers.iter().map(|it| it.project.clone())).collect();
        match self {
            Self::Compose(_) => {
                for container in containers {
                    let service = Some(container.service.clone()).filter(|name| !name.is_empty());
                    let members = named.entry(container.project.clone()).or_default();
                    members.push(Member {
                        container,
                        service,
                        anchor: false,
                    });
                }
            }
            Self::Decnet { .. } => {
                let places: Vec<_> = (containers.iter())
                    .map(|container| place(container, &containers))
                    .collect();
                for (container, (decky, service)) in containers.into_iter().zip(places) {
                    named.entry(decky).or_default().push(Member {
                        container,
                        service,
                        anchor: false,
                    });
                }
            }
        }
        if let Self::Compose(projects) = self {
            named.retain(|name, members| match projects {
                Projects::Managed => members.iter().any(|member| member.container.managed),
                Projects::Prefixed(prefix) => name.starts_with(prefix),
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
                Err(_) => deckies.unnamed.push(name),
            }
        }
        deckies
    }

    fn set_anchor(&self, members: &mut [Member]) {
        let knows = |member: &Member| match self {
            Self::Compose(Projects::Managed) => member.container.managed,
            Self::Compose(Projects::Prefixed(_)) => true,
            // Compose wrote on it what its base is called. A base alone may look like a service.
            Self::Decnet { .. } => member.service.is_some(),
        };
        let anchor = members.iter().position(knows).unwrap_or_default();
        if let Some(member) = members.get_mut(anchor) {
            member.anchor = true;
        }
    }
}

impl Deckies {
    /// What belongs to a decky. In a `decnet` project a base container that has lost its services may be taken for the
    /// service of another decky: its own name says better.
    pub(super) fn of(&self, decky: &DeckyId) -> Vec<Member> {
        let mut members = self.members.get(decky).cloned().unwrap_or_default();
        let base = (self.members.values().flatten())
            .find(|member| member.container.name == decky.as_str())
            .filter(|base| {
                members
                    .iter()
                    .all(|it| it.container.id != base.container.id)
            });
        members.extend(base.cloned().map(|base| Member {
            anchor: true,
            ..base
        }));
        members
    }

    /// What is told of them.
    pub(super) fn reported(&self) -> Vec<ReportedShard> {
        let reported = |(decky_id, members): (&DeckyId, &Vec<Member>)| ReportedShard {
            decky_id: decky_id.clone(),
            state: state(members),
            services: services(members),
            decky_ip: address(members),
            labels: Labels::default(),
        };
        self.members.iter().map(reported).collect()
    }
}

/// The decky and the service of a container of a `decnet` project. Each decky has a base container of its own name,
/// whose network the others share; without one, the name is cut where the service begins. A service is named in the
/// container with `-` for the `_` of its Compose name, so that it is there where the last `-` is.
fn place(container: &Container, all: &[Container]) -> (String, Option<String>) {
    let Container { name, service, .. } = container;
    let shared = |it: &Container| {
        let id = it.shares.as_deref()?;
        all.iter().find(|other| other.id == id)
    };
    let of = |decky: &str| {
        let own = service.strip_prefix(decky).or(name.strip_prefix(decky));
        let own = own.and_then(|rest| rest.strip_prefix('-'));
        (decky.to_owned(), Some(own.unwrap_or(service).to_owned()))
    };
    if let Some(base) = shared(container) {
        return of(&base.name);
    }
    let suffix = format!("-{}", service.replace('_', "-"));
    if let Some(decky) = name.strip_suffix(&suffix).filter(|rest| !rest.is_empty()) {
        return (decky.to_owned(), Some(service.clone()));
    }
    let follows = |need: &&String| {
        let rest = service.strip_prefix(need.as_str());
        rest.is_some_and(|rest| rest.starts_with('-'))
    };
    if let Some(base) = container.needs.iter().find(follows) {
        return of(base);
    }
    // Where some share a network, what has its own is a base; and `decky-01` is no service `01` of `decky`.
    let is_base = container.shares.is_none() && all.iter().any(|it| it.shares.is_some());
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let key = if service.is_empty() { name } else { service };
    match key.rsplit_once('-') {
        Some((decky, service)) if !decky.is_empty() && !is_base && !is_number(service) => {
            (decky.to_owned(), Some(service.to_owned()))
        }
        _ => (name.clone(), None),
    }
}

/// One that has died by itself is `degraded`, like one of which a part has: what is `failed` is of no use to anybody.
fn state(members: &[Member]) -> ReportedState {
    let worst = members.iter().map(|member| member.container.condition);
    match worst.max() {
        Some(Condition::Dead) => ReportedState::Failed,
        Some(Condition::Down | Condition::Unwell) => ReportedState::Degraded,
        Some(Condition::Coming) => ReportedState::Pending,
        Some(Condition::Up) | None => ReportedState::Running,
    }
}

fn services(members: &[Member]) -> Services {
    let mut names: Vec<_> = (members.iter())
        .filter_map(|member| member.service.clone())
        .filter(|name| (1..=LONGEST_SERVICE).contains(&name.chars().count()))
        .collect();
    names.sort();
    names.dedup();
    names.truncate(MOST_SERVICES);
    Services::try_from(names).unwrap_or_default()
}

/// The address in the deckies' own network if there is one, else the first.
fn address(members: &[Member]) -> Option<String> {
    let all = || {
        members
            .iter()
            .flat_map(|member| &member.container.addresses)
    };
    let own = all().find(|(network, _)| network == DECNET_NETWORK);
    own.or_else(|| all().next())
        .map(|(_, address)| address.clone())
}

#[cfg(test)]
mod tests;
