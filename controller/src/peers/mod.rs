//! The other controllers on the bus. Two controllers with separate records must not serve the same
//! hosts: `instance` has the rule, `query` asks who else answers, `startup` asks before a
//! controller serves, and `monitor` asks while it serves.

pub mod instance;
pub mod monitor;
pub mod presence;
mod query;
pub mod startup;
