//! White-box tests of the controller. They run its parts in the test process, some of them on a
//! real nats-server.
//!
//! Tests of the whole program through its protocol are in `tests/e2e/`.

mod decode;
mod durability;
mod engine;
mod lease;
mod overload;
mod snapshot_exchange;
mod store;
