//! The durable record: the stored rows, the changes to them, and the states of an operation.
//!
//! Pure data and functions of one row. What spans several rows is in `state` and above.

pub mod change;
pub(crate) mod operation;
pub(crate) mod operation_state;
pub mod restore;
pub(crate) mod rows;
