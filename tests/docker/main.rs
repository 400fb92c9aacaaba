//! Tests of `scuttle-agent` on a real Docker Engine. `cargo xtask test --docker` installs what they
//! need and runs them.
//!
//! Each test has a [`docker_host::DockerHost`]: a separate nats-server, controller, agent and
//! dockerd (`daemon`), with one enrolled host. Behavior that needs no Docker Engine is tested next
//! to its code, in `agent/`.

mod agent;
mod daemon;
mod docker_host;
mod inventory;
mod outages;
mod presets;
mod readme_steps;
mod teardown;
