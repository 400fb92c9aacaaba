//! The oracle, which checks the invariants independently of the state of the code under test. The
//! oracle knows all durable changes, all sent messages, all reports of agents, and the deckies that
//! really exist on each host. It makes no decisions for the code under test.

pub(crate) mod agent_actions;
pub(crate) mod agent_history;
pub(crate) mod appends;
pub(crate) mod broadcast;
pub(crate) mod command_order;
pub(crate) mod deployments;
pub(crate) mod digest;
pub(crate) mod evidence;
pub(crate) mod identifiers;
pub(crate) mod operations;
pub(crate) mod outgoing;
pub(crate) mod partition;
pub(crate) mod protection;
pub(crate) mod record;
pub(crate) mod redelivery;
pub(crate) mod reports;
pub(crate) mod shards;
pub(crate) mod swarm;
pub mod violation;
