//! The sizes of the swarms that `scale` measures.

use anyhow::Result;

use crate::environment::swarm::RunningSwarm;

pub(super) const HOSTS: u32 = 10_000;
pub(super) const DECKIES_PER_HOST: u32 = 100;
pub(super) const SHARDS: f64 = HOSTS as f64 * DECKIES_PER_HOST as f64;
/// The number of hosts in the small swarm, which has ten thousand shards.
pub(super) const SMALL_HOSTS: u32 = 100;

/// Returns the resident memory of the controller in bytes.
pub(super) fn resident_bytes(swarm: &RunningSwarm) -> Result<f64> {
    Ok(swarm.process.resident_kib()? as f64 * 1024.0)
}
