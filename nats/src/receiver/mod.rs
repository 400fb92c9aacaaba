//! A connection that only receives. Whatever a publisher sends, the connection stays up: a message
//! that is malformed is delivered as such, and its subject still names the sender.
//!
//! The client library closes its connection at a header that it cannot parse, or ends for good. Any
//! client that may publish to a program could therefore keep the program from receiving anything.
//! So subscriptions to subjects that others may publish on use this connection, and everything else
//! uses the library.

pub mod connection;
mod frame;
mod headers;
mod link;

pub use frame::Delivery;
pub use headers::MalformedMessage;
