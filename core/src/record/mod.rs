//! record.

pub(crate) mod change;
pub(crate) mod operation;
pub(crate) mod operation_state;
pub(crate) mod restore;
pub(crate) mod rows;
