//! HTTP responses whose bodies are completely in memory.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};

/// An HTTP response whose body is in memory, not streamed.
pub(super) type HttpResponse = Response<Full<Bytes>>;

/// Returns a response with one line of plain text, which clients must not cache.
pub(super) fn text_response(status: StatusCode, line: &str) -> HttpResponse {
    let mut response = uncached_response(format!("{line}\n"), "text/plain; charset=utf-8");
    *response.status_mut() = status;
    response
}

/// Returns a response with status 200 that clients must not cache.
pub(super) fn uncached_response(body: String, content_type: &'static str) -> HttpResponse {
    let mut response = Response::new(Full::from(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
