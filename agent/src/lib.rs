//! One host's agent: it takes its host's commands, executes each operation once, and tells the
//! controller what it sees.
//!
//! `machine` decides and knows no clock, network, disk or randomness; `ledger` keeps on disk what must
//! survive a crash; `runtime` is what deckies run on; `docker` is the real one (a feature: simulators have
//! their own); `link` is the way to NATS; `incoming` reads what comes on it; `spans` is what is traced; `run` joins them, always
//! in the order: decide, make durable, then tell or act. What the messages are is in `scuttle-schemas`.

pub mod counters;
#[cfg(feature = "docker")]
pub mod docker;
mod incoming;
pub mod ledger;
pub mod link;
pub mod machine;
pub mod run;
pub mod runtime;
mod spans;

pub use counters::Counters;
pub use ledger::{DiskLedger, Ledger, LedgerError, MemoryLedger};
pub use link::Link;
pub use run::{AgentError, Settings, run};
pub use runtime::{Inventory, ProgressSink, Runtime, RuntimeError, Teardown, TeardownReport};
