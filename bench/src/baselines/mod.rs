//! The baselines that Scuttle is compared with: the limits of the message bus and of the disk, and
//! other ways to make a request durable.

pub(crate) mod disk;
pub(crate) mod echo;
pub(crate) mod jetstream;
pub(crate) mod sqlite;
