//! Backups of the store, restores, and migrations between the local store and the shared journal.

mod backup;
mod identity;
mod leftovers;
mod migration;
