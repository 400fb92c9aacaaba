//! White-box tests of the controller: its parts run in this process, where needed on a real
//! nats-server.
//!
//! Tests of the whole program through its protocol are in `tests/e2e/`.

mod decode;
mod durability;
mod engine;
mod lease;
mod overload;
mod snapshot_exchange;
mod store;
