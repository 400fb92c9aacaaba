//! The verbs, one file each, in folders by subject.

pub(crate) mod admin;
pub(crate) mod doctor;
pub(crate) mod operations;
pub(crate) mod shell;
pub(crate) mod show;
pub(crate) mod watch;
