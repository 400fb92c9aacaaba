//! The programs of a chaos run, their logs and their disks.

pub(crate) mod controller_log;
pub(crate) mod processes;
pub(crate) mod scale;
pub(crate) mod small_disk;
pub(crate) mod targets;
