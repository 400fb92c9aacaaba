//! The NATS connection, the Micro service, and the key-value buckets.

pub mod connection;
pub mod durability_check;
pub mod key_value;
pub mod service;
