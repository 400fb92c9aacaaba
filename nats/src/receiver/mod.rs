//! A connection that only receives. Whatever a publisher sends, the connection stays up: a message
//! that is malformed is delivered as such, and its subject still names the sender.
//!
//! When the client library receives a header that it cannot parse, it closes its connection, and in
//! some cases never connects again. Any client that may publish to a program could therefore keep
//! the program from receiving anything. So subscriptions to subjects that others may publish on use
//! this connection, and everything else uses the library.

pub mod connection;
mod frame;
mod headers;
mod link;

pub use frame::Delivery;
pub use headers::MalformedMessage;
