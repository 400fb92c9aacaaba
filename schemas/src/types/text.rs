//! Free text with a limit: texts that are truncated, and texts that are rejected if they are too
//! long.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

use crate::types::truncate::truncate_chars;

/// The maximum length of a free text, for example an error or a reason, in characters.
pub const MAX_TEXT_CHARS: usize = 512;

/// The maximum length of a note, in characters.
pub const MAX_NOTE_CHARS: usize = 256;

macro_rules! truncated_text {
    ($(#[$doc:meta])* $name:ident, $max:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Serialize)]
        #[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
        #[serde(transparent)]
        pub struct $name(#[cfg_attr(feature = "generate", schemars(length(max = $max)))] Box<str>);

        impl $name {
            /// Returns the text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(truncate_chars(text, $max).into())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                crate::types::decode::parsed(deserializer, "text", |text| {
                    Ok::<_, std::convert::Infallible>(Self::from(text))
                })
            }
        }
    };
}

truncated_text! {
    /// Free text of which only the first 512 characters are kept, for example an error or a
    /// version.
    Text, MAX_TEXT_CHARS
}

truncated_text! {
    /// A note about something that an agent found on its host and could not attribute to a decky,
    /// or had to leave there. Only the first 256 characters are kept.
    Note, MAX_NOTE_CHARS
}

/// Deserializes an optional text, and rejects a text of more than `MAX` characters. For texts of
/// operators, because truncating them could change their meaning. Use with `deserialize_with`.
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
    use super::{Note, Text};

    #[test]
    fn a_text_is_truncated_to_512_characters_and_a_note_to_256() {
        let long = "é".repeat(600);
        assert_eq!(Text::from(long.as_str()).as_str(), "é".repeat(512));
        assert_eq!(Note::from(long.as_str()).as_str(), "é".repeat(256));
    }
}
