//! Limits of the protocol that several messages share.

/// The maximum size of a broadcast, in bytes. A larger change is announced in several messages.
pub const MAX_BROADCAST_BYTES: usize = 256 * 1024;

/// The maximum size of a heartbeat that an agent sends, in bytes. A larger inventory is sent in
/// several pages.
pub const MAX_HEARTBEAT_BYTES: usize = 256 * 1024;

/// The maximum number of deckies in one inventory, and of shards on one host.
pub const MAX_DECKIES_PER_HOST: usize = 4096;
