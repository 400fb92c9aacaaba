//! Backups of the store, restores, and migrations between the local store and the shared journal.

mod backup;
mod leftovers;
mod migration;
