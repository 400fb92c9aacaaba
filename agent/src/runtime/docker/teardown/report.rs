//! The report of a teardown, derived from the listings before and after it. The code is pure. The
//! report names every object that is left.

use std::collections::BTreeMap;

use scuttle_schemas::agents::{Evidence, ReportedOutcome, ShardResult};
use scuttle_schemas::{DeckyId, Text};

use super::super::deckies::grouping::{Deckies, Decky, Member};
use super::super::deckies::listing::Listed;
use super::super::deckies::shared_register::ReadError;
use super::super::preset::Preset;
use super::outcome::{DeckyOutcome, Leftover, Targets};
use crate::runtime::TeardownReport;

/// What is known after the removal.
pub(super) struct AfterTeardown<'a> {
    pub(super) preset: &'a Preset,
    /// The containers and networks that are left.
    pub(super) listed: &'a Listed,
    /// The deckies that are left.
    pub(super) now: &'a Deckies,
    pub(super) outcomes: &'a BTreeMap<DeckyId, DeckyOutcome>,
    pub(super) shared_errors: &'a [Leftover],
    /// The deckies that were not to be removed, with the reasons.
    pub(super) refused: &'a BTreeMap<DeckyId, String>,
}

/// Builds the report after the deckies were listed again.
pub(super) fn build_verified(targets: &Targets, after: &AfterTeardown) -> TeardownReport {
    let AfterTeardown { now, outcomes, .. } = after;
    let none_left = Decky::default();
    let to_result = |(id, before): (&DeckyId, &Decky)| {
        let remaining = now.by_id.get(id).unwrap_or(&none_left);
        let errors = outcomes.get(id).map_or(&[][..], |outcome| &outcome.errors);
        let mut error = describe_remaining(before, remaining, errors);
        // An object that was listed for the decky may since have been listed without it.
        if error.is_none()
            && let Some(name) = find_left(before, after.listed)
        {
            error = Some(describe_unattributed(name));
        }
        // A container that cannot be read may belong to the decky.
        if error.is_none()
            && let Some(container) = now.find_unreadable(after.preset, id)
        {
            error = Some(format!(
                "cannot check what is left: cannot read {container}"
            ));
        }
        let evidence = outcomes
            .get(id)
            .and_then(|outcome| outcome.evidence.clone());
        let is_absent = before.members.is_empty() && before.networks.is_empty();
        match error {
            Some(error) => ShardResult {
                evidence,
                ..to_failed(id, &error)
            },
            None => ShardResult {
                decky_id: id.clone(),
                outcome: if is_absent {
                    ReportedOutcome::Absent
                } else {
                    ReportedOutcome::Removed
                },
                error: None,
                evidence,
            },
        }
    };
    let mut shards: Vec<_> = targets.iter().map(to_result).collect();
    shards.extend((after.refused.iter()).map(|(id, error)| to_failed(id, error)));
    let errors: Vec<_> = (after.shared_errors.iter())
        .map(|error| error.0.as_str())
        .collect();
    TeardownReport {
        error: (!errors.is_empty()).then(|| Text::from(errors.join("; ").as_str())),
        shards,
    }
}

/// Builds the report if the Engine could not list the containers again. No container is known to be
/// gone, so every target has failed.
pub(super) fn build_unverified<'a>(
    targets: impl Iterator<Item = (&'a DeckyId, Option<Evidence>)>,
    refused: &BTreeMap<DeckyId, String>,
    error: &ReadError,
) -> TeardownReport {
    let error = format!("cannot check what is left: {error}");
    let targets = targets.map(|(decky, evidence)| ShardResult {
        evidence,
        ..to_failed(decky, &error)
    });
    let refused = refused.iter().map(|(id, error)| to_failed(id, error));
    TeardownReport {
        shards: targets.chain(refused).collect(),
        error: Some(Text::from(error.as_str())),
    }
}

/// Describes the objects of a decky that are left, or that were created during the teardown.
fn describe_remaining(before: &Decky, now: &Decky, errors: &[String]) -> Option<String> {
    let is_old_container = |member: &&Member| {
        let mut old = before.members.iter();
        old.any(|old| old.container.id == member.container.id)
    };
    let (old, new): (Vec<_>, Vec<_>) = now.members.iter().partition(is_old_container);
    let mut left = Vec::new();
    left.extend(list_names(
        "container",
        old.iter().map(|member| member.container.name.as_str()),
    ));
    let old_networks = (now.networks.iter()).filter(|network| {
        let mut old = before.networks.iter();
        old.any(|old| old.id == network.id)
    });
    left.extend(list_names(
        "network",
        old_networks.map(|network| network.name.as_str()),
    ));
    if !left.is_empty() {
        let left = left.join(", ");
        let reason = errors
            .first()
            .map_or("the Engine reported no error", String::as_str);
        // The error of a network that is used by others is complete without the list.
        return Some(if reason.starts_with(&left) {
            reason.to_owned()
        } else {
            format!("left: {left}; {reason}")
        });
    }
    let new = list_names(
        "container",
        new.iter().map(|member| member.container.name.as_str()),
    );
    let new = new.or_else(|| {
        list_names(
            "network",
            now.networks.iter().map(|network| network.name.as_str()),
        )
    })?;
    Some(format!("deployed again during the teardown: {new}"))
}

/// Returns the error for a decky that left an object, such as a container, that can no longer be
/// attributed to the decky.
pub(super) fn describe_unattributed(name: &str) -> String {
    format!("left: {name}, which no longer belongs to a decky")
}

/// Returns the name of an object of a decky that is left.
fn find_left<'a>(before: &'a Decky, listed: &Listed) -> Option<&'a str> {
    let containers = before.members.iter().map(|member| &member.container);
    let containers = containers.map(|container| (&container.id, &container.name));
    let networks = before.networks.iter();
    let networks = networks.map(|network| (&network.id, &network.name));
    let mut objects = containers.chain(networks);
    let (_, name) = objects.find(|(id, _)| listed.has_object(id))?;
    Some(name)
}

/// Returns `container a` or `containers a, b`.
fn list_names<'a>(kind: &str, names: impl Iterator<Item = &'a str>) -> Option<String> {
    let names: Vec<_> = names.collect();
    match names.as_slice() {
        [] => None,
        [name] => Some(format!("{kind} {name}")),
        names => Some(format!("{kind}s {}", names.join(", "))),
    }
}

fn to_failed(decky: &DeckyId, error: &str) -> ShardResult {
    ShardResult {
        decky_id: decky.clone(),
        outcome: ReportedOutcome::Failed,
        error: Some(Text::from(error)),
        evidence: None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Instant;

    use scuttle_schemas::{DeckyId, Text};

    use super::super::super::deckies::listing::{Listed, ListedNetwork};
    use super::super::super::engine::container::{Container, UnreadableContainer};
    use super::super::super::preset::ProjectFilter;
    use super::{
        AfterTeardown, Deckies, Decky, DeckyOutcome, Member, Preset, Targets, TeardownReport,
        build_verified,
    };

    /// Builds a decky with these containers and networks. The name of each object is its id.
    fn build_decky(containers: &[&str], networks: &[&str]) -> Decky {
        let member = |id: &&str| Member {
            container: Container {
                id: (*id).to_owned(),
                name: (*id).to_owned(),
                ..Container::default()
            },
            service: None,
        };
        let network = |id: &&str| ListedNetwork {
            id: (*id).to_owned(),
            name: (*id).to_owned(),
            project: "trap".to_owned(),
            managed: false,
        };
        Decky {
            name: "trap".to_owned(),
            members: containers.iter().map(member).collect(),
            networks: networks.iter().map(network).collect(),
            protected: false,
        }
    }

    fn build(
        targets: &Targets,
        now: &Deckies,
        outcomes: &BTreeMap<DeckyId, DeckyOutcome>,
        left: &[&str],
    ) -> TeardownReport {
        let by_id = |id: &&str| ((*id).to_owned(), Container::default());
        let after = AfterTeardown {
            preset: &Preset::Compose(ProjectFilter::Managed),
            listed: &Listed {
                started: Instant::now(),
                is_full: true,
                containers: left.iter().map(by_id).collect(),
                networks: Vec::new(),
                unreadable: Vec::new(),
            },
            now,
            outcomes,
            shared_errors: &[],
            refused: &BTreeMap::new(),
        };
        build_verified(targets, &after)
    }

    #[test]
    fn a_decky_is_gone_only_if_none_of_its_objects_is_left() {
        let none = build_decky(&[], &[]);
        for (before, now, expected) in [
            (build_decky(&["a", "b"], &["n"]), none.clone(), "Removed"),
            (build_decky(&[], &["n"]), none.clone(), "Removed"),
            (none.clone(), none.clone(), "Absent"),
            (
                build_decky(&["a", "b"], &[]),
                build_decky(&["a", "b"], &[]),
                "left: containers a, b; cannot stop a",
            ),
            (
                build_decky(&["a", "b"], &["n"]),
                build_decky(&["b", "c"], &["n"]),
                "left: container b, network n; cannot stop a",
            ),
            (
                build_decky(&["a"], &["n"]),
                build_decky(&[], &["n"]),
                "left: network n; cannot stop a",
            ),
            (
                build_decky(&["a"], &[]),
                build_decky(&["c"], &["n"]),
                "deployed again during the teardown: container c",
            ),
            (
                none.clone(),
                build_decky(&[], &["n"]),
                "deployed again during the teardown: network n",
            ),
        ] {
            let decky: scuttle_schemas::DeckyId = "trap".parse().expect("a decky");
            let targets = BTreeMap::from([(decky.clone(), before)]);
            let by_id = [(decky.clone(), now)]
                .into_iter()
                .filter(|(_, now)| *now != none);
            let now = Deckies {
                by_id: by_id.collect(),
                ..Deckies::default()
            };
            let errors = vec!["cannot stop a".to_owned()];
            let outcome = DeckyOutcome {
                errors,
                evidence: None,
            };
            let outcomes = BTreeMap::from([(decky.clone(), outcome)]);
            let report = build(&targets, &now, &outcomes, &[]);
            let shard = &report.shards[0];
            let actual = match &shard.error {
                Some(error) => error.to_string(),
                None => format!("{:?}", shard.outcome),
            };
            assert_eq!(actual, expected);
            assert_eq!(report.error, None);
        }
    }

    #[test]
    fn a_container_that_is_left_without_a_decky_is_not_gone() {
        let decky: DeckyId = "trap".parse().expect("a decky");
        let targets = BTreeMap::from([(decky, build_decky(&["a", "b"], &["n"]))]);
        let left = ["b", "other"];
        let report = build(&targets, &Deckies::default(), &BTreeMap::new(), &left);
        let error = report.shards[0].error.as_ref().map(Text::as_str);
        assert_eq!(error, Some("left: b, which no longer belongs to a decky"));
    }

    #[test]
    fn a_container_that_cannot_be_read_may_belong_to_the_decky() {
        let decky: DeckyId = "trap".parse().expect("a decky");
        let targets = BTreeMap::from([(decky, build_decky(&["a"], &[]))]);
        for (project, is_removed) in [(None, false), (Some("trap"), false), (Some("shop"), true)] {
            let now = Deckies {
                unreadable: vec![UnreadableContainer {
                    name: "x".to_owned(),
                    project: project.map(ToOwned::to_owned),
                    cause: "no state".to_owned(),
                }],
                ..Deckies::default()
            };
            let report = build(&targets, &now, &BTreeMap::new(), &[]);
            let error = report.shards[0].error.as_ref().map(Text::as_str);
            let expected = "cannot check what is left: cannot read container x: no state";
            assert_eq!(error, (!is_removed).then_some(expected), "{project:?}");
        }
    }
}
