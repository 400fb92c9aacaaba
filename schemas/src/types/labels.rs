//! The services and labels of deckies and hosts, with their limits.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::ser::SerializeSeq;
use serde::{Deserialize, Serialize, Serializer};

const MAX_SERVICES: usize = 32;
const MAX_SERVICE_CHARS: usize = 64;
const MAX_LABELS: usize = 16;
const MAX_LABEL_CHARS: usize = 63;

/// The error for services or labels that exceed a limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct LimitExceeded(String);

fn check_length(what: &str, text: &str, max: usize) -> Result<(), LimitExceeded> {
    if (1..=max).contains(&text.chars().count()) {
        Ok(())
    } else {
        Err(LimitExceeded(format!(
            "{what} must be 1 to {max} characters"
        )))
    }
}

/// The names of a decky's services, for example `ssh`: at most 32, each of 1 to 64 characters.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
#[serde(try_from = "Vec<String>")]
#[cfg_attr(feature = "generate", schemars(!try_from))]
pub struct Services(
    #[cfg_attr(
        feature = "generate",
        schemars(
            with = "Vec<String>",
            length(max = MAX_SERVICES),
            inner(length(min = 1, max = MAX_SERVICE_CHARS))
        )
    )]
    // All names in one allocation that clones share, because a swarm may have a million deckies.
    // Each name is preceded by a character whose code point is the length of the name in bytes.
    Option<Arc<str>>,
);

impl Services {
    /// Returns the names in their original order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        let mut rest = self.0.as_deref().unwrap_or_default();
        std::iter::from_fn(move || {
            let mut chars = rest.chars();
            let length = chars.next()? as usize;
            let (name, more) = chars.as_str().split_at(length);
            rest = more;
            Some(name)
        })
    }

    /// Joins the names into one text, with `separator` between them.
    pub fn join(&self, separator: &str) -> String {
        self.iter().collect::<Vec<_>>().join(separator)
    }
}

impl TryFrom<Vec<String>> for Services {
    type Error = LimitExceeded;
    fn try_from(names: Vec<String>) -> Result<Self, LimitExceeded> {
        if names.len() > MAX_SERVICES {
            return Err(LimitExceeded(format!(
                "services must be at most {MAX_SERVICES}"
            )));
        }
        let mut text = String::new();
        for name in &names {
            check_length("a service's name", name, MAX_SERVICE_CHARS)?;
            let length = u32::try_from(name.len()).ok().and_then(char::from_u32);
            text.extend(length);
            text.push_str(name);
        }
        Ok(Self((!text.is_empty()).then(|| text.into())))
    }
}

impl Serialize for Services {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut names = serializer.serialize_seq(Some(self.iter().count()))?;
        for name in self.iter() {
            names.serialize_element(name)?;
        }
        names.end()
    }
}

impl fmt::Debug for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.iter().collect();
        f.debug_tuple("Services").field(&names).finish()
    }
}

/// The labels of a host or decky: at most 16, with keys and values of 1 to 63 characters.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
#[serde(try_from = "BTreeMap<String, String>")]
#[cfg_attr(feature = "generate", schemars(!try_from))]
pub struct Labels(
    #[cfg_attr(
        feature = "generate",
        schemars(with = "BTreeMap<String, String>", extend(
            "maxProperties" = MAX_LABELS,
            "propertyNames" = { "minLength": 1, "maxLength": MAX_LABEL_CHARS },
            "additionalProperties" = { "type": "string", "minLength": 1, "maxLength": MAX_LABEL_CHARS },
        ))
    )]
    // `None` without labels, because most deckies have none. Shared by clones.
    Option<Arc<BTreeMap<String, String>>>,
);

impl Labels {
    /// Returns the labels, sorted by key.
    pub fn as_map(&self) -> &BTreeMap<String, String> {
        static EMPTY: BTreeMap<String, String> = BTreeMap::new();
        self.0.as_deref().unwrap_or(&EMPTY)
    }
}

impl TryFrom<BTreeMap<String, String>> for Labels {
    type Error = LimitExceeded;
    fn try_from(labels: BTreeMap<String, String>) -> Result<Self, LimitExceeded> {
        if labels.len() > MAX_LABELS {
            return Err(LimitExceeded(format!(
                "labels must be at most {MAX_LABELS}"
            )));
        }
        for (key, value) in &labels {
            check_length("a label's key", key, MAX_LABEL_CHARS)?;
            check_length("a label's value", value, MAX_LABEL_CHARS)?;
        }
        Ok(Self((!labels.is_empty()).then(|| Arc::new(labels))))
    }
}

impl Serialize for Labels {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.as_map().serialize(serializer)
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Labels").field(self.as_map()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::{Labels, Services};

    #[test]
    fn services_and_labels_have_limits() {
        assert!(Services::try_from(vec!["ssh".to_owned(); 32]).is_ok());
        assert!(Services::try_from(vec!["ssh".to_owned(); 33]).is_err());
        assert!(Services::try_from(vec![String::new()]).is_err());
        assert!(Services::try_from(vec!["x".repeat(65)]).is_err());
        for names in [
            &[] as &[&str],
            &["ssh"],
            &["\u{80}\0é", "a", &"é".repeat(64), "\u{10ffff}"],
        ] {
            let names: Vec<String> = names.iter().map(ToString::to_string).collect();
            let services = Services::try_from(names.clone()).expect("valid");
            assert_eq!(services.iter().collect::<Vec<_>>(), names);
            assert_eq!(
                serde_json::to_string(&services).ok(),
                serde_json::to_string(&names).ok()
            );
        }
        let labels = |count: usize, value: &str| {
            Labels::try_from(
                (0..count)
                    .map(|n| (n.to_string(), value.to_owned()))
                    .collect::<std::collections::BTreeMap<_, _>>(),
            )
        };
        assert!(labels(16, &"v".repeat(63)).is_ok());
        assert!(labels(17, "v").is_err());
        assert!(labels(1, "").is_err());
        assert!(labels(1, &"v".repeat(64)).is_err());
    }
}
