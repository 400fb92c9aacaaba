//! The values that messages consist of: ids, names, texts, labels, times and partitions. Each type
//! checks a value when the value is created or decoded.

pub(crate) mod decode;
pub(crate) mod deployment;
pub(crate) mod escape;
pub(crate) mod ids;
pub(crate) mod labels;
pub(crate) mod limits;
pub(crate) mod partition;
pub mod text;
pub(crate) mod timestamp;
pub(crate) mod truncate;
