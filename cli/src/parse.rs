//! Parsers of command-line values: states and timeouts. Names and ids are parsed by their types in
//! `scuttle_schemas`.

use std::time::Duration;

use scuttle_schemas::Labels;
use scuttle_schemas::operations::OperationState;
use serde::de::DeserializeOwned;
use serde::de::value::{Error, StrDeserializer};

/// Parses a state as it is spelled in JSON messages, such as `timed_out`. Accepts `-` in place of
/// `_`.
pub(crate) fn parse_state<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let text = text.replace('-', "_");
    let deserializer = StrDeserializer::<Error>::new(&text);
    T::deserialize(deserializer).map_err(|error| {
        // Serde names the expected states in backticks.
        let error = error.to_string().replace('`', "");
        match error.split_once("expected one of ") {
            Some((_, states)) => format!("the state must be one of {states}"),
            None => error,
        }
    })
}

/// The states of operations that one value of `--state` selects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OperationStates(pub(crate) Vec<OperationState>);

/// Parses a state of operations, or `open`, which selects all states of operations that have not
/// ended.
pub(crate) fn parse_operation_states(text: &str) -> Result<OperationStates, String> {
    if text == "open" {
        let open = vec![OperationState::Queued, OperationState::Running];
        return Ok(OperationStates(open));
    }
    let parsed = parse_state(text).map(|state| OperationStates(vec![state]));
    parsed.map_err(|error| format!("{error}, or open for queued and running"))
}

/// Parses one label, given as `KEY=VALUE`.
pub(crate) fn parse_label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text
        .split_once('=')
        .ok_or("a label must have the form KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// Returns whether labels contain each of these pairs of key and value.
pub(crate) fn has_labels(labels: &Labels, wanted: &[(String, String)]) -> bool {
    let is_present = |(key, value): &(String, String)| labels.as_map().get(key) == Some(value);
    wanted.iter().all(is_present)
}

/// Parses a time span such as `90s`, `10m` or `24h`.
pub(crate) fn parse_span(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|_| "write the time with its unit, such as 90s, 10m or 24h".to_owned())
}

/// Parses a timeout such as `90s`, `10m` or `1h 30m` into seconds. Fails if it is not a whole
/// number of seconds, is 0, or exceeds `MAX_TIMEOUT_S`.
pub(crate) fn parse_timeout_s(text: &str) -> Result<u32, String> {
    let max = scuttle_schemas::teardown::MAX_TIMEOUT_S;
    let timeout = parse_span(text)?;
    match u32::try_from(timeout.as_secs()) {
        Ok(seconds) if (1..=max).contains(&seconds) && timeout.subsec_nanos() == 0 => Ok(seconds),
        _ => Err(format!(
            "the timeout must be in whole seconds, from 1s to {}h",
            max / 3600
        )),
    }
}

#[cfg(test)]
mod tests {
    use scuttle_schemas::operations::OperationState;
    use scuttle_schemas::shards::ShardState;

    use super::{parse_operation_states, parse_state, parse_timeout_s};

    #[test]
    fn states_are_spelled_as_in_messages() {
        assert_eq!(
            parse_state("teardown_failed"),
            Ok(ShardState::TeardownFailed)
        );
        assert_eq!(parse_state("tearing-down"), Ok(ShardState::TearingDown));
        assert_eq!(parse_state("timed_out"), Ok(OperationState::TimedOut));
        let error = parse_state::<OperationState>("done").expect_err("no such state");
        assert!(
            error.starts_with("the state must be one of queued, running"),
            "{error}"
        );
    }

    #[test]
    fn open_selects_the_states_of_operations_that_have_not_ended() {
        let parse = |text| parse_operation_states(text).map(|states| states.0);
        let (queued, running) = (OperationState::Queued, OperationState::Running);
        assert_eq!(parse("open"), Ok(vec![queued, running]));
        assert_eq!(parse("running"), Ok(vec![running]));
        let error = parse("ended").expect_err("no such state");
        assert!(error.ends_with("or open for queued and running"), "{error}");
    }

    #[test]
    fn a_timeout_is_in_whole_seconds_and_at_most_a_day() {
        for (text, expected) in [
            ("1s", 1),
            ("90s", 90),
            ("10m", 600),
            ("1h 30m", 5400),
            ("24h", 86_400),
        ] {
            assert_eq!(parse_timeout_s(text), Ok(expected), "{text}");
        }
        for text in ["", "600", "0s", "500ms", "1500ms", "25h", "-1s", "soon"] {
            assert!(parse_timeout_s(text).is_err(), "{text}");
        }
    }
}
