//! What a seed determines: the random numbers of a run, and its plan (the size of the swarm and the
//! faults).

pub(crate) mod plan;
pub(crate) mod seeded_rng;
