//! Words of the command line that are words of the wire: a state is written as it stands in a message.

use serde::de::DeserializeOwned;
use serde::de::value::{Error, StrDeserializer};

/// Reads a state by the word that messages have for it; `-` and `_` are the same.
pub(crate) fn word<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let text = text.replace('-', "_");
    let word = StrDeserializer::<Error>::new(&text);
    T::deserialize(word).map_err(|error| error.to_string())
}

/// A length of time in whole seconds: `90s`, `10m`, `1h 30m`.
pub(crate) fn seconds(text: &str) -> Result<u32, String> {
    let most = scuttle_schemas::teardown::MAX_TIMEOUT_S;
    let time = humantime::parse_duration(text)
        .map_err(|error| format!("{error}; write it as 90s, 10m or 1h"))?;
    match u32::try_from(time.as_secs()) {
        Ok(seconds) if (1..=most).contains(&seconds) && time.subsec_nanos() == 0 => Ok(seconds),
        _ => Err(format!(
            "it must be whole seconds, from 1s to {}h",
            most / 3600
        )),
    }
}

#[cfg(test)]
mod tests {
    use scuttle_schemas::operations::OperationState;
    use scuttle_schemas::shards::ShardState;

    use super::{seconds, word};

    #[test]
    fn states_are_the_words_of_the_wire() {
        assert_eq!(word("teardown_failed"), Ok(ShardState::TeardownFailed));
        assert_eq!(word("tearing-down"), Ok(ShardState::TearingDown));
        assert_eq!(word("timed_out"), Ok(OperationState::TimedOut));
        let error = word::<OperationState>("done").expect_err("no state");
        assert!(error.contains("succeeded"), "{error}");
    }

    #[test]
    fn a_timeout_is_a_length_of_time_within_a_day() {
        for (text, expected) in [
            ("1s", 1),
            ("90s", 90),
            ("10m", 600),
            ("1h 30m", 5400),
            ("24h", 86_400),
        ] {
            assert_eq!(seconds(text), Ok(expected), "{text}");
        }
        for text in ["", "600", "0s", "500ms", "1500ms", "25h", "-1s", "soon"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
