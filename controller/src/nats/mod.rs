//! The connection to the NATS server, the Micro service, and key-value buckets.

pub mod connection;
pub mod durability_check;
pub mod key_value;
pub mod service;
