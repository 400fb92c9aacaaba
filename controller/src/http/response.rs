//! HTTP responses that are completely in memory.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};

/// A response whose body is completely in memory.
pub(super) type HttpResponse = Response<Full<Bytes>>;

/// Returns a response with one line of text.
pub(super) fn text_response(status: StatusCode, line: &'static str) -> HttpResponse {
    let mut response = uncached_response(format!("{line}\n"), "text/plain; charset=utf-8");
    *response.status_mut() = status;
    response
}

/// Returns a response that clients must not cache.
pub(super) fn uncached_response(body: String, content_type: &'static str) -> HttpResponse {
    let mut response = Response::new(Full::from(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
