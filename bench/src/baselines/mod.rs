//! The baselines for comparison with Scuttle: the limits of the message bus and of the disk, and
//! other ways to make a request durable.

pub(crate) mod disk;
pub(crate) mod echo;
pub(crate) mod jetstream;
pub(crate) mod sqlite;
