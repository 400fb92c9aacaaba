//! The end-to-end tests: the real programs on real nats-servers, tested through the protocol, HTTP
//! and the command line.
//!
//! There is a folder for each topic. Every test starts its own servers and programs, on free ports
//! and in a temporary directory, so that all tests can run at the same time in this one process.
//! Tests that use internals of the controller are in `controller/tests/`. Tests on a real Docker
//! Engine are in `tests/docker/`.

mod agents;
mod backup_and_migration;
mod cli;
mod cluster;
mod controller_process;
mod hostile;
mod lists_and_broadcasts;
mod observability;
mod operator_actions;
mod partitions;
mod security;
mod teardown;
