//! The report of a teardown, derived from the containers before and after it. The code is pure. The
//! report names every object that is left.

use std::collections::BTreeMap;

use scuttle_schemas::agents::{ReportedOutcome, ShardResult};
use scuttle_schemas::{DeckyId, Text};

use super::deckies::{Deckies, Member};
use super::engine::EngineError;
use crate::runtime::TeardownReport;

/// The targets of a teardown, with the containers that they had at its start.
pub(super) type Targets = BTreeMap<DeckyId, Vec<Member>>;

/// A network, volume or image that should have been removed but was not.
#[derive(Debug)]
pub(super) struct Leftover {
    /// The decky that the object belongs to. `None` if it belongs to several or none.
    pub(super) decky: Option<DeckyId>,
    pub(super) error: String,
    /// Whether the object is in use, but only by containers outside the teardown. In that case,
    /// waiting does not help.
    pub(super) used_by_others: bool,
}

impl Leftover {
    /// Creates a leftover that belongs to no single decky.
    pub(super) fn new(error: String) -> Self {
        Self {
            decky: None,
            error,
            used_by_others: false,
        }
    }
}

/// Builds the report from a listing of the containers after the teardown. `errors` contains the
/// first error of each decky.
pub(super) fn build_verified(
    targets: &Targets,
    now: &Deckies,
    leftovers: &[Leftover],
    errors: &BTreeMap<DeckyId, String>,
) -> TeardownReport {
    let shared_errors: Vec<_> = (leftovers.iter())
        .filter(|leftover| leftover.decky.is_none())
        .map(|leftover| leftover.error.as_str())
        .collect();
    let to_result = |(decky, before): (&DeckyId, &Vec<Member>)| {
        let own = (leftovers.iter()).find(|leftover| leftover.decky.as_ref() == Some(decky));
        let own_error = own.map(|leftover| leftover.error.as_str());
        let reason = errors.get(decky).map(String::as_str).or(own_error);
        let error = describe_remaining(before, &now.members_of(decky), reason);
        match error.or_else(|| own_error.map(ToOwned::to_owned)) {
            Some(error) => to_failed(decky, &error),
            None => ShardResult {
                decky_id: decky.clone(),
                outcome: if before.is_empty() {
                    ReportedOutcome::Absent
                } else {
                    ReportedOutcome::Removed
                },
                error: None,
            },
        }
    };
    TeardownReport {
        error: (!shared_errors.is_empty()).then(|| Text::from(shared_errors.join("; ").as_str())),
        shards: targets.iter().map(to_result).collect(),
    }
}

/// Builds the report of a teardown that could not list the containers. No container is known to be
/// gone, so every target has failed.
pub(super) fn build_unverified<'a>(
    targets: impl Iterator<Item = &'a DeckyId>,
    error: &EngineError,
) -> TeardownReport {
    let error = format!("cannot check what is left: {error}");
    TeardownReport {
        error: Some(Text::from(error.as_str())),
        shards: targets.map(|decky| to_failed(decky, &error)).collect(),
    }
}

/// Describes the containers of a decky that are left, or else those that were created during the
/// teardown. Returns `None` if there are none of either.
fn describe_remaining(before: &[Member], now: &[Member], reason: Option<&str>) -> Option<String> {
    let is_old = |member: &&Member| {
        before
            .iter()
            .any(|old| old.container.id == member.container.id)
    };
    let (old, new): (Vec<_>, Vec<_>) = now.iter().partition(is_old);
    match (list_names(&old), list_names(&new)) {
        (None, None) => None,
        (None, Some(new)) => Some(format!("deployed again during the teardown: {new}")),
        (Some(old), _) => Some(format!(
            "left: {old}; {}",
            reason.unwrap_or("the Engine reported no error")
        )),
    }
}

/// Returns `container a` or `containers a, b`, or `None` for an empty list.
fn list_names(members: &[&Member]) -> Option<String> {
    let names: Vec<_> = (members.iter())
        .map(|member| member.container.name.as_str())
        .collect();
    match names.as_slice() {
        [] => None,
        [name] => Some(format!("container {name}")),
        names => Some(format!("containers {}", names.join(", "))),
    }
}

fn to_failed(decky: &DeckyId, error: &str) -> ShardResult {
    ShardResult {
        decky_id: decky.clone(),
        outcome: ReportedOutcome::Failed,
        error: Some(Text::from(error)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bollard::models::ContainerSummary;

    use super::super::container::Container;
    use super::super::deckies::{Preset, ProjectFilter};
    use super::{Deckies, Leftover, build_verified};

    /// Builds containers with these ids in the project `trap`. The name of each container is its
    /// id.
    fn build_deckies(ids: &[&str]) -> Deckies {
        let container = |id: &&str| {
            let text = format!(
                r#"{{ "Id": "{id}", "Names": ["/{id}"], "Labels": {{ "com.docker.compose.project": "trap" }} }}"#
            );
            let summary: ContainerSummary = serde_json::from_str(&text).expect("a listing's entry");
            Container::from_summary(summary).expect("of a project")
        };
        let preset = Preset::Compose(ProjectFilter::Prefixed(String::new()));
        preset.group_by_decky(ids.iter().map(container).collect())
    }

    #[test]
    fn a_decky_is_gone_only_if_none_of_its_containers_is_left() {
        let network = "network trap_default has active endpoints (x)";
        for (before, now, leftover, expected) in [
            (&["a", "b"] as &[&str], &[] as &[&str], None, "Removed"),
            (&[], &[], None, "Absent"),
            (
                &["a", "b"],
                &["a", "b"],
                None,
                "left: containers a, b; cannot stop a",
            ),
            (
                &["a", "b"],
                &["b"],
                Some(network),
                "left: container b; cannot stop a",
            ),
            (
                &["a"],
                &["c"],
                None,
                "deployed again during the teardown: container c",
            ),
            (
                &[],
                &["c"],
                None,
                "deployed again during the teardown: container c",
            ),
            (&["a"], &[], Some(network), network),
        ] {
            let decky: scuttle_schemas::DeckyId = "trap".parse().expect("a decky");
            let targets =
                BTreeMap::from([(decky.clone(), build_deckies(before).members_of(&decky))]);
            let errors = BTreeMap::from([(decky.clone(), "cannot stop a".to_owned())]);
            let leftover = leftover.map(|error: &str| Leftover {
                decky: Some(decky.clone()),
                error: error.to_owned(),
                used_by_others: true,
            });
            let report = build_verified(
                &targets,
                &build_deckies(now),
                &Vec::from_iter(leftover),
                &errors,
            );
            let shard = &report.shards[0];
            let actual = match &shard.error {
                Some(error) => error.to_string(),
                None => format!("{:?}", shard.outcome),
            };
            assert_eq!(actual, expected, "{before:?}, {now:?}");
            assert_eq!(report.error, None);
        }
    }
}
