//! The page, as it was built into the program, and the headers that keep it to itself: it may load what is served here, and
//! connect to the NATS server that it is told of, and nothing else.

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

use crate::http::{Answer, text};

/// The files that the page's own build makes.
#[derive(RustEmbed)]
#[folder = "../web/dist"]
struct Files;

/// Where it begins.
const INDEX: &str = "index.html";

/// Where the page finds its settings.
const CONFIG: &str = "config.json";

/// What a program says that was built without the page.
pub(crate) const NO_PAGE: &str = "this controller was built without its page; `cargo xtask web` builds the page (with Node 20), then build the controller again";

/// Where browsers reach the NATS server: `ws://HOST:PORT` or `wss://HOST:PORT`, with or without a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatsUrl(String);

/// Not such an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be ws://HOST:PORT or wss://HOST:PORT: where browsers reach the NATS server")]
pub struct NatsUrlError;

impl Default for NatsUrl {
    fn default() -> Self {
        Self("ws://127.0.0.1:8421".to_owned())
    }
}

impl FromStr for NatsUrl {
    type Err = NatsUrlError;

    fn from_str(text: &str) -> Result<Self, NatsUrlError> {
        let rest = (text.strip_prefix("ws://")).or_else(|| text.strip_prefix("wss://"));
        let rest = rest.ok_or(NatsUrlError)?;
        // It becomes a word of the policy: nothing that ends a word there, no login, and nothing to be escaped.
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._:[]/".contains(c);
        let host = rest.chars().next().is_some_and(|c| !"/:.".contains(c));
        if host && rest.chars().all(plain) {
            Ok(Self(text.to_owned()))
        } else {
            Err(NatsUrlError)
        }
    }
}

/// The page, for one address of the NATS server.
#[derive(Debug)]
pub(crate) struct Page {
    config: Bytes,
    policy: HeaderValue,
}

impl Page {
    pub(crate) fn new(nats: &NatsUrl) -> Self {
        let config = json!({ "nats_url": nats.0, "version": env!("CARGO_PKG_VERSION") });
        let policy = format!(
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; \
             manifest-src 'self'; connect-src 'self' {}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            nats.0
        );
        Self {
            config: config.to_string().into(),
            policy: HeaderValue::from_str(&policy).expect("an address is plain ASCII"),
        }
    }

    /// Whether the program has it.
    pub(crate) fn is_built_in() -> bool {
        Files::get(INDEX).is_some()
    }

    /// The file at a path.
    pub(crate) fn answer(&self, path: &str, asked: &HeaderMap) -> Answer {
        let name = match path.trim_start_matches('/') {
            "" => INDEX,
            name => name,
        };
        let mut answer = if name == CONFIG {
            file("application/json", "no-cache", self.config.clone())
        } else {
            built(name, asked)
        };
        let always = [
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
        answer.headers_mut().extend(always);
        answer
    }
}

fn built(name: &str, asked: &HeaderMap) -> Answer {
    let Some(found) = Files::get(name).filter(|_| !name.starts_with('.')) else {
        let missing = match name {
            INDEX => NO_PAGE,
            _ => "there is no such file",
        };
        return text(StatusCode::NOT_FOUND, missing);
    };
    // What is below assets/ has a hash of its content in its name; the rest is asked for again each time.
    let keep = match name.strip_prefix("assets/") {
        Some(_) => "public, max-age=31536000, immutable",
        None => "no-cache",
    };
    let hash = found.metadata.sha256_hash();
    let half = u128::from_be_bytes(std::array::from_fn(|index| hash[index]));
    let tag = format!("\"{half:032x}\"");
    let tag = HeaderValue::from_str(&tag).expect("hexadecimal digits");
    let mut answer = if asked.get(IF_NONE_MATCH) == Some(&tag) {
        let mut unchanged = Response::new(Full::default());
        *unchanged.status_mut() = StatusCode::NOT_MODIFIED;
        unchanged
    } else {
        let data = match found.data {
            std::borrow::Cow::Borrowed(data) => Bytes::from_static(data),
            std::borrow::Cow::Owned(data) => data.into(),
        };
        file(kind(name), keep, data)
    };
    answer.headers_mut().insert(ETAG, tag);
    answer
}

fn file(kind: &'static str, keep: &'static str, data: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(data));
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(keep));
    answer
}

/// The media type of what the page's build makes.
fn kind(name: &str) -> &'static str {
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
    use super::NatsUrl;

    #[test]
    fn an_address_is_one_word_of_the_policy() {
        for right in [
            "ws://127.0.0.1:8421",
            "wss://swarm.example",
            "ws://[::1]:80/nats",
        ] {
            assert!(right.parse::<NatsUrl>().is_ok(), "{right}");
        }
        for wrong in [
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
        ] {
            assert!(wrong.parse::<NatsUrl>().is_err(), "{wrong}");
        }
    }
}
