//! The labels of a decky: those that its containers give it, and the mark of a protected decky.

use std::collections::BTreeMap;

use scuttle_schemas::Labels;
use scuttle_schemas::protection::PROTECTED_LABEL;

use super::super::engine::container::Container;

/// The maximum number of labels in a report of a decky.
const MAX_LABELS: usize = 16;

/// The prefix of label keys that have a meaning to Scuttle. A container cannot give its decky such
/// a label.
const RESERVED_PREFIX: &str = "scuttle.";

/// The labels of one decky.
#[derive(Debug, Default)]
pub(super) struct DeckyLabels {
    pub(super) labels: Labels,
    /// The keys that are left out, each with the container that has the label.
    ignored: Vec<String>,
}

impl DeckyLabels {
    /// Collects the labels `scuttle.label.KEY=VALUE` of a decky's containers. Leaves out a label
    /// that exceeds a limit, has a reserved key, or has another value on an earlier container.
    pub(super) fn collect<'c>(
        containers: impl Iterator<Item = &'c Container>,
        is_protected: bool,
    ) -> Self {
        let mut labels = BTreeMap::new();
        if is_protected {
            labels.insert(PROTECTED_LABEL.to_owned(), "true".to_owned());
        }
        let mut ignored = Vec::new();
        for container in containers {
            for (key, value) in &container.decky_labels {
                let is_free = match labels.get(key) {
                    Some(known) => known == value,
                    None => labels.len() < MAX_LABELS,
                };
                let alone = BTreeMap::from([(key.clone(), value.clone())]);
                let is_valid = !key.starts_with(RESERVED_PREFIX) && Labels::try_from(alone).is_ok();
                if is_free && is_valid {
                    labels.insert(key.clone(), value.clone());
                } else {
                    ignored.push(format!("{key} of container {}", container.name));
                }
            }
        }
        Self {
            labels: Labels::try_from(labels).unwrap_or_default(),
            ignored,
        }
    }

    /// Describes the labels that are left out, or returns `None` if there are none.
    pub(super) fn describe_ignored(&self, decky: &str) -> Option<String> {
        if self.ignored.is_empty() {
            return None;
        }
        let ignored = self.ignored.join(", ");
        Some(format!(
            "labels of decky {decky} are ignored (at most {MAX_LABELS}, keys and values of 1 to 63 \
             characters, one value for each key): {ignored}"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::{Container, DeckyLabels};

    fn container(name: &str, labels: &[(&str, &str)]) -> Container {
        let labels = labels.iter();
        let labels = labels.map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Container {
            name: name.to_owned(),
            decky_labels: labels.collect(),
            ..Container::default()
        }
    }

    fn collect(containers: &[Container], is_protected: bool) -> (String, Option<String>) {
        let collected = DeckyLabels::collect(containers.iter(), is_protected);
        let labels = serde_json::to_string(&collected.labels).expect("JSON");
        (labels, collected.describe_ignored("trap"))
    }

    #[test]
    fn a_decky_has_the_labels_of_all_its_containers() {
        let web = container("web", &[("site", "lab"), ("tier", "1")]);
        let db = container("db", &[("site", "lab")]);
        let (labels, ignored) = collect(&[web, db], true);
        let expected = r#"{"scuttle.protected":"true","site":"lab","tier":"1"}"#;
        assert_eq!((labels.as_str(), ignored), (expected, None));
    }

    #[test]
    fn a_label_that_breaks_a_rule_is_ignored_with_a_note() {
        let long = "x".repeat(64);
        for (label, rest) in [
            (("empty", ""), "{}"),
            (("", "empty"), "{}"),
            (("long", &*long), "{}"),
            ((&*long, "long"), "{}"),
            (("scuttle.protected", "true"), "{}"),
        ] {
            let (labels, ignored) = collect(&[container("web", &[label])], false);
            assert_eq!(labels, rest, "{label:?}");
            let ignored = ignored.expect("a note");
            let expected = format!("{} of container web", label.0);
            assert!(ignored.ends_with(&expected), "{ignored}");
        }
        let (labels, ignored) = collect(
            &[container("a", &[("k", "1")]), container("b", &[("k", "2")])],
            false,
        );
        assert_eq!(labels, r#"{"k":"1"}"#);
        assert!(ignored.expect("a note").ends_with("k of container b"));
    }

    #[test]
    fn a_decky_has_at_most_sixteen_labels_and_keeps_its_protection() {
        let names: Vec<String> = (0..17).map(|number| format!("k{number:02}")).collect();
        let labels: Vec<_> = names.iter().map(|name| (name.as_str(), "v")).collect();
        let (reported, ignored) = collect(&[container("web", &labels)], true);
        assert_eq!(reported.matches(':').count(), 16, "{reported}");
        assert!(reported.contains("scuttle.protected"), "{reported}");
        let expected = "k15 of container web, k16 of container web";
        assert!(ignored.expect("a note").ends_with(expected));
    }
}
