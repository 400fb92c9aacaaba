//! The agent of one host. It executes the commands of the controller, each operation at most once,
//! and reports the host's deckies.
//!
//! The modules, lowest layer first:
//!
//! - [`ledger`]: the facts that must survive a crash, on disk or in memory.
//! - [`evidence`]: the archives of what torn-down deckies logged and changed.
//! - [`runtime`]: the software that runs deckies. Docker is in [`runtime::docker`], behind a
//!   feature, because simulators have their own runtime.
//! - [`machine`]: all decisions. It does not access a clock, the network, a disk or randomness.
//! - `observability`: counters, log lines and trace spans.
//! - [`nats`]: the connection, and the decoding of messages.
//! - [`mod@run`]: the loop that connects the other modules. For each input, the loop decides, then
//!   makes the ledger durable, and only then sends or acts.
//!
//! The messages are defined in `scuttle-schemas`.

mod clock;
#[cfg(feature = "docker")]
pub mod evidence;
pub mod ledger;
pub mod machine;
pub mod nats;
mod observability;
mod private_directory;
mod replace_file;
pub mod run;
pub mod runtime;

pub use ledger::{DiskLedger, Ledger, LedgerError};
pub use nats::connection::Connection;
pub use observability::Counters;
pub use run::{AgentParts, Settings, run};
