//! The controller as a process: its configuration, its start and stop, crashes and abnormal exits.

mod abnormal_exit;
mod configuration;
mod crashes;
mod hangup;
mod nats_service;
mod two_records;
mod wrong_credentials;
