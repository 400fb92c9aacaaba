//! Backup and restore: `scuttle-controller backup FILE`, with the controller running or stopped,
//! and `restore FILE`.
//!
//! A running controller has exclusive access to its store's file. It therefore sends a snapshot of
//! the store over a Unix socket in its data directory (`server`), value by value (`protocol`). The
//! `backup` process writes the values to a new store and verifies the new store (`create`). A
//! backup is thus a store, and `restore` installs it in a data directory. This module neither reads
//! nor changes the controller's state in memory.

pub mod create;
pub mod error;
mod protocol;
pub mod restore;
pub mod server;

use std::sync::atomic::{AtomicBool, Ordering};

pub use create::create;
pub use restore::restore;
pub use server::BackupServer;

use crate::ops::backup::error::BackupError;

/// A flag with which the operator cancels a backup or restore.
#[derive(Debug, Default)]
pub struct Interrupt(AtomicBool);

impl Interrupt {
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn check(&self) -> Result<(), BackupError> {
        if self.is_set() {
            return Err(BackupError::Interrupted);
        }
        Ok(())
    }
}
