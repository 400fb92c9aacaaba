//! The files of the web page, which are embedded in the program, and their security headers. The
//! headers allow the page to load files only from this server, and to connect only to this server
//! and the configured NATS servers.

use std::str::FromStr;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, HeaderValue,
    IF_NONE_MATCH, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Response, StatusCode};
use rust_embed::RustEmbed;
use serde_json::json;

use crate::http::response::{HttpResponse, text_response};

/// The files that the page's build produces, embedded in the program.
#[derive(RustEmbed)]
#[folder = "../web/dist"]
struct Files;

const INDEX: &str = "index.html";

/// The path from which the page loads its settings.
const CONFIG: &str = "config.json";

/// The message of a controller that was built without the page.
pub(crate) const NO_PAGE: &str = "this controller was built without its page; build the page with `cargo xtask web` (needs Node 20), then build the controller again";

/// The maximum number of addresses in [`NatsUrls`], so that the policy's header stays short.
const MAX_URLS: usize = 16;

/// The addresses at which browsers reach the NATS servers: `ws://HOST:PORT` or `wss://HOST:PORT`,
/// with an optional path. The page connects to any of them, and to another one when its server
/// stops.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatsUrls(Vec<String>);

/// The error for a text that is not a list of WebSocket addresses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be ws://HOST:PORT or wss://HOST:PORT, the address at which browsers reach the NATS server, or up to {MAX_URLS} of them, \
     separated by commas"
)]
pub struct NatsUrlsError;

impl Default for NatsUrls {
    fn default() -> Self {
        Self(vec!["ws://127.0.0.1:8421".to_owned()])
    }
}

impl FromStr for NatsUrls {
    type Err = NatsUrlsError;

    fn from_str(text: &str) -> Result<Self, NatsUrlsError> {
        let urls: Vec<_> = text.split(',').map(|url| url.trim().to_owned()).collect();
        if urls.len() <= MAX_URLS && urls.iter().all(|url| is_websocket_url(url)) {
            Ok(Self(urls))
        } else {
            Err(NatsUrlsError)
        }
    }
}

/// Returns whether a text is a WebSocket address that can be part of the content security policy:
/// without a separator of the policy, a login, or anything that needs escaping.
fn is_websocket_url(text: &str) -> bool {
    let rest = (text.strip_prefix("ws://")).or_else(|| text.strip_prefix("wss://"));
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._:[]/".contains(c);
    rest.is_some_and(|rest| {
        let has_host = rest.chars().next().is_some_and(|c| !"/:.".contains(c));
        has_host && rest.chars().all(is_plain)
    })
}

/// The web page with its settings and its content security policy.
#[derive(Debug)]
pub(crate) struct Page {
    config: Bytes,
    policy: HeaderValue,
}

impl Page {
    pub(crate) fn new(nats_urls: &NatsUrls) -> Self {
        let config = json!({
            "nats_url": nats_urls.0.join(","),
            "version": env!("CARGO_PKG_VERSION"),
        });
        let policy = format!(
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; \
             manifest-src 'self'; connect-src 'self' {}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            nats_urls.0.join(" ")
        );
        Self {
            config: config.to_string().into(),
            policy: HeaderValue::from_str(&policy).expect("an address is plain ASCII"),
        }
    }

    /// Returns whether the program was built with the page.
    pub(crate) fn is_built_in() -> bool {
        Files::get(INDEX).is_some()
    }

    /// Returns the file at `path` with the security headers. Returns status 304 instead if the
    /// client has the current file, and 404 if the file is missing.
    pub(crate) fn respond(&self, path: &str, request_headers: &HeaderMap) -> HttpResponse {
        let name = match path.trim_start_matches('/') {
            "" => INDEX,
            name => name,
        };
        let mut response = if name == CONFIG {
            file_response("application/json", "no-cache", self.config.clone())
        } else {
            embedded_file(name, request_headers)
        };
        let security_headers = [
            (CONTENT_SECURITY_POLICY, self.policy.clone()),
            (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
            (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
            (
                HeaderName::from_static("cross-origin-opener-policy"),
                HeaderValue::from_static("same-origin"),
            ),
            (
                HeaderName::from_static("cross-origin-resource-policy"),
                HeaderValue::from_static("same-origin"),
            ),
        ];
        response.headers_mut().extend(security_headers);
        response
    }
}

fn embedded_file(name: &str, request_headers: &HeaderMap) -> HttpResponse {
    let Some(found) = Files::get(name).filter(|_| !name.starts_with('.')) else {
        let missing = match name {
            INDEX => NO_PAGE,
            _ => "file not found",
        };
        return text_response(StatusCode::NOT_FOUND, missing);
    };
    // The names of files in assets/ contain a hash of their content. Browsers revalidate all
    // others.
    let cache_control = match name.strip_prefix("assets/") {
        Some(_) => "public, max-age=31536000, immutable",
        None => "no-cache",
    };
    let hash = found.metadata.sha256_hash();
    let half = u128::from_be_bytes(std::array::from_fn(|index| hash[index]));
    let tag = format!("\"{half:032x}\"");
    let tag = HeaderValue::from_str(&tag).expect("hexadecimal digits");
    let mut response = if request_headers.get(IF_NONE_MATCH) == Some(&tag) {
        let mut unchanged = Response::new(Full::default());
        *unchanged.status_mut() = StatusCode::NOT_MODIFIED;
        unchanged
    } else {
        let data = match found.data {
            std::borrow::Cow::Borrowed(data) => Bytes::from_static(data),
            std::borrow::Cow::Owned(data) => data.into(),
        };
        file_response(content_type(name), cache_control, data)
    };
    response.headers_mut().insert(ETAG, tag);
    response
}

fn file_response(
    content_type: &'static str,
    cache_control: &'static str,
    data: Bytes,
) -> HttpResponse {
    let mut response = Response::new(Full::new(data));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(cache_control));
    response
}

/// Returns the media type for the extension of a file that the page's build produces.
fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map_or("", |(_, ending)| ending) {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "json" | "map" => "application/json",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::NatsUrls;

    #[test]
    fn an_address_that_could_change_the_content_security_policy_is_rejected() {
        for valid in [
            "ws://127.0.0.1:8421",
            "wss://swarm.example",
            "ws://[::1]:80/nats",
            "wss://a.example:8421,wss://b.example:8421, wss://c.example:8421",
        ] {
            assert!(valid.parse::<NatsUrls>().is_ok(), "{valid}");
        }
        for invalid in [
            "",
            "ws://",
            "ws:///x",
            "ws://:8421",
            "http://h:1",
            "nats://h:4222",
            "h:1",
            "ws://h:1; script-src *",
            "ws://h 'unsafe-inline'",
            "ws://alice:secret@h:1",
            "ws://h:1?x",
            "ws://a:1,",
            "ws://a:1,,ws://b:1",
            "ws://a:1,http://b:1",
            "ws://a:1 ws://b:1",
            &["ws://h:1"; 17].join(","),
        ] {
            assert!(invalid.parse::<NatsUrls>().is_err(), "{invalid}");
        }
    }
}
