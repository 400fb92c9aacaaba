//! The `scuttle` command as people and programs use it, with a real server and controller.

mod admin_and_shell;
pub(crate) mod cli_runner;
mod connect;
mod doctor;
mod fake_controller;
mod hidden_characters;
mod protect;
mod show;
mod teardown;
mod terminal;
mod wait;
mod watch;
