//! The oracle: checks what must hold, whatever the code under test believes. It knows what became
//! durable, what was sent, what agents reported, and what really happened to their deckies. It
//! makes no decisions for the code under test.

pub(crate) mod agent_actions;
pub(crate) mod agent_history;
pub(crate) mod appends;
pub(crate) mod broadcast;
pub(crate) mod digest;
pub(crate) mod operations;
pub(crate) mod outgoing;
pub(crate) mod partition;
pub(crate) mod record;
pub(crate) mod reports;
pub(crate) mod shards;
pub(crate) mod swarm;
pub mod violation;
