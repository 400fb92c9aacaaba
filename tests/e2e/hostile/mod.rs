//! Malformed messages, huge messages, floods of messages, and valid reports of a hostile agent:
//! none of them harms the controller or its other clients.

mod agent_limits;
mod fairness;
mod headers;
mod overload;
mod payloads;
mod raw_headers;
mod sustained_load;
