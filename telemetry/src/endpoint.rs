//! The address of the collector for traces, from an option of the program or from the standard
//! OpenTelemetry variables.

use std::fmt;
use std::str::FromStr;

/// The standard variable for traces only, whose URL is used as is.
const TRACES_ENDPOINT: &str = opentelemetry_otlp::OTEL_EXPORTER_OTLP_TRACES_ENDPOINT;

/// The standard variable for all signals (traces, metrics and logs). The path for traces is
/// appended to its URL.
const OTLP_ENDPOINT: &str = opentelemetry_otlp::OTEL_EXPORTER_OTLP_ENDPOINT;

/// The path for traces, relative to the collector's URL for all signals.
const TRACES_PATH: &str = "/v1/traces";

/// The URL of an OTLP collector for traces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint(String);

/// The error for a URL to which traces cannot be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "it must be http://HOST:PORT of an OTLP collector, such as http://127.0.0.1:4318; if the collector requires TLS, run a local one that forwards the traces"
)]
pub struct InvalidEndpoint;

impl Endpoint {
    /// Returns the endpoint that the standard OpenTelemetry variables name, if any. `variable`
    /// looks up a variable, and an empty variable counts as not set.
    ///
    /// # Errors
    /// If a variable is invalid. The error contains the name of the variable.
    pub(crate) fn from_variables(
        variable: impl Fn(&'static str) -> Option<String>,
    ) -> Result<Option<Self>, (&'static str, InvalidEndpoint)> {
        let get = |name: &'static str| variable(name).filter(|url| !url.is_empty());
        if let Some(url) = get(TRACES_ENDPOINT) {
            let url = check_url(&url).map_err(|error| (TRACES_ENDPOINT, error))?;
            return Ok(Some(Self(url.to_owned())));
        }
        (get(OTLP_ENDPOINT).map(|url| url.parse()).transpose())
            .map_err(|error| (OTLP_ENDPOINT, error))
    }
}

impl FromStr for Endpoint {
    type Err = InvalidEndpoint;

    /// Parses the URL of a collector for all signals, and appends the path for traces.
    fn from_str(url: &str) -> Result<Self, InvalidEndpoint> {
        let base = check_url(url)?.trim_end_matches('/');
        Ok(Self(format!("{base}{TRACES_PATH}")))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn check_url(url: &str) -> Result<&str, InvalidEndpoint> {
    let parsed: Option<ureq::http::Uri> = url.parse().ok();
    let is_usable = parsed.is_some_and(|uri| {
        uri.scheme_str() == Some("http") && uri.host().is_some_and(|host| !host.is_empty())
    });
    if is_usable {
        Ok(url)
    } else {
        Err(InvalidEndpoint)
    }
}

#[cfg(test)]
mod tests {
    use super::{Endpoint, InvalidEndpoint, OTLP_ENDPOINT, TRACES_ENDPOINT};

    #[test]
    fn the_url_of_a_collector_is_completed_and_checked() {
        for url in ["http://c:4318", "http://c:4318/"] {
            let endpoint: Endpoint = url.parse().expect("an endpoint");
            assert_eq!(endpoint.to_string(), "http://c:4318/v1/traces");
        }
        for wrong in [
            "",
            "c:4318",
            "https://c:4318",
            "http://",
            "grpc://c",
            "http://a b",
        ] {
            assert_eq!(wrong.parse::<Endpoint>(), Err(InvalidEndpoint), "{wrong}");
        }
    }

    #[test]
    fn the_variable_for_traces_takes_precedence_over_the_one_for_all_signals() {
        let resolve = |all: &'static str, traces: &'static str| {
            let variable = move |name: &'static str| {
                let value = match name {
                    OTLP_ENDPOINT => all,
                    TRACES_ENDPOINT => traces,
                    _ => return None,
                };
                Some(value.to_owned())
            };
            let resolved = Endpoint::from_variables(variable);
            resolved.map(|endpoint| endpoint.map(|endpoint| endpoint.to_string()))
        };
        assert_eq!(resolve("", ""), Ok(None));
        let all = Ok(Some("http://a/v1/traces".to_owned()));
        assert_eq!(resolve("http://a", ""), all);
        let traces = Ok(Some("http://t/here".to_owned()));
        assert_eq!(resolve("http://a", "http://t/here"), traces);
        assert_eq!(resolve("", "t"), Err((TRACES_ENDPOINT, InvalidEndpoint)));
        assert_eq!(resolve("a", ""), Err((OTLP_ENDPOINT, InvalidEndpoint)));
    }
}
