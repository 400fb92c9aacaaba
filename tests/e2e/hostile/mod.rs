//! Malformed messages, huge messages and floods of messages: none of them harms the controller or
//! its other clients.

mod fairness;
mod headers;
mod overload;
mod payloads;
mod raw_headers;
mod sustained_load;
