//! Free text and small collections, each with its limit.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};

/// The most characters of an error, a reason or another free text.
pub const MAX_TEXT: usize = 512;
const MAX_SERVICES: usize = 32;
const MAX_SERVICE: usize = 64;
const MAX_LABELS: usize = 16;
const MAX_LABEL: usize = 63;

/// Cuts text to at most `characters`, at a character boundary.
pub fn cut(text: &str, characters: usize) -> Cow<'_, str> {
    match text.char_indices().nth(characters) {
        Some((end, _)) => Cow::Owned(text[..end].to_owned()),
        None => Cow::Borrowed(text),
    }
}

/// Free text that was cut to 512 characters when it was made: errors and versions, which are worth
/// keeping even when they are too long.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct Text(#[cfg_attr(feature = "generate", schemars(length(max = MAX_TEXT)))] Box<str>);

impl Text {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(cut(text, MAX_TEXT).into())
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::read::parsed(deserializer, "text", |text| {
            Ok::<_, std::convert::Infallible>(Self::from(text))
        })
    }
}

/// A limit that a message broke.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidText(String);

fn within(what: &str, text: &str, most: usize) -> Result<(), InvalidText> {
    if (1..=most).contains(&text.chars().count()) {
        Ok(())
    } else {
        Err(InvalidText(format!(
            "{what} must be 1 to {most} characters"
        )))
    }
}

/// The services of a decky (`ssh`, `http`): at most 32, each of 1 to 64 characters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
#[serde(try_from = "Vec<String>")]
#[cfg_attr(feature = "generate", schemars(!try_from))]
pub struct Services(
    #[cfg_attr(
        feature = "generate",
        schemars(length(max = MAX_SERVICES), inner(length(min = 1, max = MAX_SERVICE)))
    )]
    // Shared by its clones: a row is cloned several times on its way.
    Arc<Vec<String>>,
);

impl Services {
    /// The names, in the order in which they were given.
    pub fn as_slice(&self) -> &[String] {
        &self.0
    }
}

impl TryFrom<Vec<String>> for Services {
    type Error = InvalidText;
    fn try_from(names: Vec<String>) -> Result<Self, InvalidText> {
        if names.len() > MAX_SERVICES {
            return Err(InvalidText(format!(
                "services must be at most {MAX_SERVICES}"
            )));
        }
        for name in &names {
            within("a service's name", name, MAX_SERVICE)?;
        }
        Ok(Self(Arc::new(names)))
    }
}

/// Labels of a host or decky: at most 16, key and value of 1 to 63 characters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
#[serde(try_from = "BTreeMap<String, String>")]
#[cfg_attr(feature = "generate", schemars(!try_from))]
pub struct Labels(
    #[cfg_attr(
        feature = "generate",
        schemars(extend(
            "maxProperties" = MAX_LABELS,
            "propertyNames" = { "minLength": 1, "maxLength": MAX_LABEL },
            "additionalProperties" = { "type": "string", "minLength": 1, "maxLength": MAX_LABEL },
        ))
    )]
    Arc<BTreeMap<String, String>>,
);

impl Labels {
    /// Key and value, by key.
    pub fn as_map(&self) -> &BTreeMap<String, String> {
        &self.0
    }
}

impl TryFrom<BTreeMap<String, String>> for Labels {
    type Error = InvalidText;
    fn try_from(labels: BTreeMap<String, String>) -> Result<Self, InvalidText> {
        if labels.len() > MAX_LABELS {
            return Err(InvalidText(format!("labels must be at most {MAX_LABELS}")));
        }
        for (key, value) in &labels {
            within("a label's key", key, MAX_LABEL)?;
            within("a label's value", value, MAX_LABEL)?;
        }
        Ok(Self(Arc::new(labels)))
    }
}

/// For `deserialize_with`: optional text of at most `MAX` characters; longer text is refused. For what
/// an operator writes, where a silent cut would change what was meant.
pub(crate) fn bounded<'de, D, const MAX: usize>(deserializer: D) -> Result<Option<String>, D::Error>
where
    D: Deserializer<'de>,
{
    let text = Option::<String>::deserialize(deserializer)?;
    match text {
        Some(text) if text.chars().count() > MAX => Err(serde::de::Error::custom(format!(
            "a text of {} characters is longer than {MAX}",
            text.chars().count()
        ))),
        other => Ok(other),
    }
}

#[cfg(test)]
mod tests {
    use super::{Labels, Services, Text, cut};

    #[test]
    fn text_is_cut_at_a_character_boundary() {
        assert_eq!(cut("añb", 2), "añ");
        assert_eq!(cut("añb", 3), "añb");
        assert_eq!(
            Text::from("é".repeat(600).as_str()).as_str(),
            "é".repeat(512)
        );
    }

    #[test]
    fn services_and_labels_have_limits() {
        assert!(Services::try_from(vec!["ssh".to_owned(); 32]).is_ok());
        assert!(Services::try_from(vec!["ssh".to_owned(); 33]).is_err());
        assert!(Services::try_from(vec![String::new()]).is_err());
        assert!(Services::try_from(vec!["x".repeat(65)]).is_err());
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
