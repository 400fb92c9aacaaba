//! White-box tests of the controller: its parts run in this process, where needed on a real nats-server.
//!
//! Tests of the whole program through its protocol are in `tests/e2e/`.

mod durability;
mod engine;
mod input;
mod lease;
mod overload;
mod peers;
mod store;
