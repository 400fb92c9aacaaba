//! Types.

pub(crate) mod decode;
pub(crate) mod ids;
pub(crate) mod labels;
pub(crate) mod limits;
pub(crate) mod partition;
pub(crate) mod text;
pub(crate) mod timestamp;
pub(crate) mod truncate;
