//! Back up and restore: `scuttle-controller backup FILE`, with the controller running or stopped, and `restore FILE`.
//!
//! A running controller has its store's file to itself, so it hands the store out by a Unix socket in its data
//! directory (`listen`): as it was at one commit, value by value (`wire`). The `backup` process makes a store of that
//! and checks it (`make`). So a backup is a store, and `restore` puts one into a data directory. What is absent here:
//! the state that the controller decides on, and any way to change it.

mod error;
mod listen;
mod make;
mod restore;
mod wire;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use scuttle_core::State;

pub use error::BackupError;
pub use listen::{Backups, SOCKET_NAME};
pub use make::{Made, make};
pub use restore::{Restored, restore};

/// Set when the operator does not want the work any more.
#[derive(Debug, Default)]
pub struct Interrupt(AtomicBool);

impl Interrupt {
    /// Asks for the end.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn check(&self) -> Result<(), BackupError> {
        if self.0.load(Ordering::Relaxed) {
            return Err(BackupError::Interrupted);
        }
        Ok(())
    }
}

/// What a store holds, in a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content {
    /// Hosts.
    pub hosts: usize,
    /// Shards.
    pub shards: usize,
    /// Open operations.
    pub open: usize,
}

impl From<&State> for Content {
    fn from(state: &State) -> Self {
        let (hosts, shards, open) = state.row_counts();
        Self {
            hosts,
            shards,
            open,
        }
    }
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            hosts,
            shards,
            open,
        } = self;
        write!(f, "{hosts} hosts, {shards} shards, {open} open operations")
    }
}
