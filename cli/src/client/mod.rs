//! Requests to the controller and the NATS server, and the views built from their replies and
//! broadcasts. This module prints nothing.

pub(crate) mod client_error;
pub(crate) mod connection;
pub(crate) mod controllers;
pub(crate) mod lists;
pub(crate) mod live_view;
pub(crate) mod nats_client;
pub(crate) mod replica_view;
pub(crate) mod revoke;
pub(crate) mod teardown;
pub(crate) mod user_connections;
