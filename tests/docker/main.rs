//! Tests of `scuttle-agent` on a real Docker Engine. `cargo xtask test --docker` installs what they
//! need and runs them.
//!
//! Each test has a `DockerHost`: a separate nats-server, controller, agent and dockerd, with one
//! enrolled host. Some tests put a proxy between the agent and dockerd, which holds, rejects or
//! changes calls. Behavior that needs no Docker Engine is tested next to its code, in `agent/`.

mod attribution;
mod evidence;
mod guards;
mod inventory;
mod leftovers;
mod outages;
mod presets;
mod readme_steps;
mod states;
mod stopping;
mod teardown;
