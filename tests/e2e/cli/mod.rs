//! The `scuttle` command as people and programs use it: the real program on a real server and controller.

mod connect;
mod doctor;
mod look;
mod others;
mod stage;
mod teardown;
mod terminal;
mod wait;
mod watch;
