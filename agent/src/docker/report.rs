//! What is said of a teardown, from what was there before and after: pure. What is left is named.

use std::collections::BTreeMap;

use scuttle_schemas::agents::{ReportedOutcome, ShardResult};
use scuttle_schemas::{DeckyId, Text};

use super::deckies::{Deckies, Member};
use super::engine::EngineError;
use crate::runtime::TeardownReport;

/// What a teardown began with.
pub(super) type Targets = BTreeMap<DeckyId, Vec<Member>>;

/// Something other than a container that was to go and did not.
#[derive(Debug)]
pub(super) struct Left {
    /// Whose it is, if it is one decky's own.
    pub(super) decky: Option<DeckyId>,
    pub(super) error: String,
    /// By containers that are not to go: no waiting of ours frees it.
    pub(super) used_by_others: bool,
}

impl Left {
    pub(super) fn of_none(error: String) -> Self {
        Self {
            decky: None,
            error,
            used_by_others: false,
        }
    }
}

/// After the last look. `errors` has the first of each decky.
pub(super) fn verified(
    targets: &Targets,
    now: &Deckies,
    left: &[Left],
    errors: &BTreeMap<DeckyId, String>,
) -> TeardownReport {
    let of_none: Vec<_> = (left.iter())
        .filter(|left| left.decky.is_none())
        .map(|left| left.error.as_str())
        .collect();
    let shard = |(decky, then): (&DeckyId, &Vec<Member>)| {
        let mine = left.iter().find(|left| left.decky.as_ref() == Some(decky));
        let mine = mine.map(|left| left.error.as_str());
        let why = errors.get(decky).map(String::as_str).or(mine);
        let error = containers(then, &now.of(decky), why);
        match error.or_else(|| mine.map(ToOwned::to_owned)) {
            Some(error) => failed(decky, &error),
            None => ShardResult {
                decky_id: decky.clone(),
                outcome: if then.is_empty() {
                    ReportedOutcome::Absent
                } else {
                    ReportedOutcome::Removed
                },
                error: None,
            },
        }
    };
    TeardownReport {
        error: (!of_none.is_empty()).then(|| Text::from(of_none.join("; ").as_str())),
        shards: targets.iter().map(shard).collect(),
    }
}

/// The Engine was away at the last look: nothing is known to be gone.
pub(super) fn unverified<'a>(
    targets: impl Iterator<Item = &'a DeckyId>,
    error: &EngineError,
) -> TeardownReport {
    let error = format!("cannot see what is left: {error}");
    TeardownReport {
        error: Some(Text::from(error.as_str())),
        shards: targets.map(|decky| failed(decky, &error)).collect(),
    }
}

/// The containers of a decky that are left, or that came while it was torn down.
fn containers(then: &[Member], now: &[Member], why: Option<&str>) -> Option<String> {
    let is_old = |it: &&Member| (then.iter()).any(|old| old.container.id == it.container.id);
    let (old, new): (Vec<_>, Vec<_>) = now.iter().partition(is_old);
    match (names(&old), names(&new)) {
        (None, None) => None,
        (None, Some(new)) => Some(format!("deployed again during the teardown: {new}")),
        (Some(old), _) => Some(format!(
            "left: {old}; {}",
            why.unwrap_or("no error was seen")
        )),
    }
}

/// `container a` or `containers a, b`.
fn names(members: &[&Member]) -> Option<String> {
    let names: Vec<_> = (members.iter())
        .map(|it| it.container.name.as_str())
        .collect();
    match names.as_slice() {
        [] => None,
        [name] => Some(format!("container {name}")),
        names => Some(format!("containers {}", names.join(", "))),
    }
}

fn failed(decky: &DeckyId, error: &str) -> ShardResult {
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
    use super::{Deckies, Left, verified};
    use crate::docker::{Preset, Projects};

    /// The containers of these ids, in the project `trap`, each named as its id.
    fn deckies(ids: &[&str]) -> Deckies {
        let container = |id: &&str| {
            let text = format!(
                r#"{{ "Id": "{id}", "Names": ["/{id}"], "Labels": {{ "com.docker.compose.project": "trap" }} }}"#
            );
            let summary: ContainerSummary = serde_json::from_str(&text).expect("a listing's entry");
            Container::read(summary).expect("of a project")
        };
        let preset = Preset::Compose(Projects::Prefixed(String::new()));
        preset.sort(ids.iter().map(container).collect())
    }

    #[test]
    fn only_what_is_not_there_any_more_is_gone() {
        let network = "network trap_default has active endpoints (x)";
        for (then, now, left, expected) in [
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
            let targets = BTreeMap::from([(decky.clone(), deckies(then).of(&decky))]);
            let errors = BTreeMap::from([(decky.clone(), "cannot stop a".to_owned())]);
            let left = left.map(|error: &str| Left {
                decky: Some(decky.clone()),
                error: error.to_owned(),
                used_by_others: true,
            });
            let report = verified(&targets, &deckies(now), &Vec::from_iter(left), &errors);
            let shard = &report.shards[0];
            let said = match &shard.error {
                Some(error) => error.to_string(),
                None => format!("{:?}", shard.outcome),
            };
            assert_eq!(said, expected, "{then:?}, {now:?}");
            assert_eq!(report.error, None);
        }
    }
}
