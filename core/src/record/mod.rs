//! The durable record: the stored rows, the changes to them, and the states of an operation.
//!
//! This module contains only data, and functions of a single row. Code that spans several rows is
//! in `state` and the layers above it.

pub mod change;
pub(crate) mod operation;
pub(crate) mod operation_state;
pub mod restore;
pub mod rows;
