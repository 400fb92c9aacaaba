//! The values that messages consist of: ids, names, texts, labels, times and partitions. Each
//! checks its rule when it is created or decoded.

pub(crate) mod decode;
pub(crate) mod ids;
pub(crate) mod labels;
pub(crate) mod limits;
pub(crate) mod partition;
pub mod text;
pub(crate) mod timestamp;
pub(crate) mod truncate;
