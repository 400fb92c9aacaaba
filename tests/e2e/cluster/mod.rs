//! Three controllers over three nats-servers: one leads, the others follow and take over.

mod leaders;
mod newcomers;
mod servers;
mod stage;
mod takeover;
