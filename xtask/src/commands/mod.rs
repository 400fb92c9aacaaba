//! The commands, one file for each. The exceptions are `tidy`, which has a folder, and `web`, which
//! is a step.

pub(crate) mod bench;
pub(crate) mod chaos;
pub(crate) mod check;
pub(crate) mod demo;
pub(crate) mod docs;
pub(crate) mod planted;
pub(crate) mod prose;
pub(crate) mod schemas;
pub(crate) mod sim;
pub(crate) mod test;
