//! Hosts that are divided over several journals, each with a leader of its own: to clients, agents and viewers one swarm.

mod leaders;
mod names;
mod one_swarm;
mod stage;
