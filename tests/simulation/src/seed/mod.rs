//! The choices of a seed: its random numbers and its plan.

pub(crate) mod plan;
pub(crate) mod seeded_rng;
