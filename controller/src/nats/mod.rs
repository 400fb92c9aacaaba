//! The connections to the NATS server, and key-value buckets.

pub mod connection;
pub mod durability_check;
pub mod key_value;
pub mod permission_check;
pub mod receivers;
pub mod replicas;
pub mod stream_lookup;
