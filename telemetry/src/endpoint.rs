//! Where traces are sent: by flag or variable, the program's own or those that OpenTelemetry has for every program.

use std::fmt;
use std::str::FromStr;

/// The standard variable for traces alone: its URL is used as it is.
const TRACES_ENDPOINT: &str = opentelemetry_otlp::OTEL_EXPORTER_OTLP_TRACES_ENDPOINT;

/// The standard variable for all that OTLP carries.
const OTLP_ENDPOINT: &str = opentelemetry_otlp::OTEL_EXPORTER_OTLP_ENDPOINT;

/// Where traces are below the URL for all that OTLP carries.
const TRACES_PATH: &str = "/v1/traces";

/// An OTLP collector's URL for traces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint(String);

/// Not the URL of a collector that traces can be sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "it must be http://HOST:PORT of an OTLP collector, such as http://127.0.0.1:4318; for one that wants TLS run a collector here that passes the traces on"
)]
pub struct InvalidEndpoint;

impl Endpoint {
    /// What the standard variables say; `variable` looks one up. An empty one is not set.
    ///
    /// # Errors
    /// The variable that is wrong.
    pub fn from_variables(
        variable: impl Fn(&'static str) -> Option<String>,
    ) -> Result<Option<Self>, (&'static str, InvalidEndpoint)> {
        let set = |name: &'static str| variable(name).filter(|url| !url.is_empty());
        if let Some(url) = set(TRACES_ENDPOINT) {
            let checked = checked(&url).map_err(|error| (TRACES_ENDPOINT, error))?;
            return Ok(Some(Self(checked.to_owned())));
        }
        (set(OTLP_ENDPOINT).map(|url| url.parse()).transpose())
            .map_err(|error| (OTLP_ENDPOINT, error))
    }
}

impl FromStr for Endpoint {
    type Err = InvalidEndpoint;

    /// A URL for all that OTLP carries.
    fn from_str(url: &str) -> Result<Self, InvalidEndpoint> {
        let base = checked(url)?.trim_end_matches('/');
        Ok(Self(format!("{base}{TRACES_PATH}")))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn checked(url: &str) -> Result<&str, InvalidEndpoint> {
    let parsed: Option<ureq::http::Uri> = url.parse().ok();
    let fits = parsed.is_some_and(|uri| {
        uri.scheme_str() == Some("http") && uri.host().is_some_and(|host| !host.is_empty())
    });
    if fits { Ok(url) } else { Err(InvalidEndpoint) }
}

#[cfg(test)]
mod tests {
    use super::{Endpoint, InvalidEndpoint, OTLP_ENDPOINT, TRACES_ENDPOINT};

    #[test]
    fn a_collectors_url_is_completed_and_checked() {
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
    fn the_variable_for_traces_goes_before_the_one_for_all() {
        let read = |all: &'static str, traces: &'static str| {
            let look = move |name: &'static str| {
                let value = match name {
                    OTLP_ENDPOINT => all,
                    TRACES_ENDPOINT => traces,
                    _ => return None,
                };
                Some(value.to_owned())
            };
            let read = Endpoint::from_variables(look);
            read.map(|endpoint| endpoint.map(|endpoint| endpoint.to_string()))
        };
        assert_eq!(read("", ""), Ok(None));
        let all = Ok(Some("http://a/v1/traces".to_owned()));
        assert_eq!(read("http://a", ""), all);
        let traces = Ok(Some("http://t/here".to_owned()));
        assert_eq!(read("http://a", "http://t/here"), traces);
        assert_eq!(read("", "t"), Err((TRACES_ENDPOINT, InvalidEndpoint)));
        assert_eq!(read("a", ""), Err((OTLP_ENDPOINT, InvalidEndpoint)));
    }
}
