//! The checks at the end of a run.

pub(crate) mod audit;
pub(crate) mod broadcast_audit;
pub(crate) mod final_record;
pub(crate) mod ground_truth;
pub(crate) mod settling;
