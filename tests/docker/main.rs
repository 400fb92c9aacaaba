//! `scuttle-agent` on a real Docker Engine: `cargo xtask test --docker` runs these and brings what they need.
//!
//! Each test has a [`stage::Stage`]: its own nats-server, controller, agent and dockerd (`daemon`), with a host enrolled. What
//! needs no Engine is tested beside its code, in agent/.

mod agent;
mod daemon;
mod inventory;
mod outages;
mod presets;
mod stage;
mod teardown;
mod whole_way;
