//! Backups of the store and their restore, and the migration from one store to the other.

mod backup;
mod migration;
