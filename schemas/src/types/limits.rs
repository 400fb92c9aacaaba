//! Limits of the protocol that several messages share.

/// The maximum size of a broadcast, in bytes. A larger change is announced in several messages.
pub const MAX_BROADCAST_BYTES: usize = 256 * 1024;

/// The maximum size of a heartbeat that an agent sends, in bytes. A larger inventory is sent in
/// several pages.
pub const MAX_HEARTBEAT_BYTES: usize = 256 * 1024;

/// The smallest `max_payload` of a NATS server with which controllers and agents work, in bytes.
/// Every record that cannot be divided fits into such a message. The default of a server is 1 MiB.
pub const MIN_MAX_PAYLOAD: usize = 32 * 1024;

/// The maximum total size of a message's headers, in bytes. The server counts them as part of the
/// payload.
pub const MAX_HEADER_BYTES: usize = 1024;

/// The maximum number of deckies in one inventory, and in one result.
pub const MAX_DECKIES_PER_HOST: usize = 4096;

/// The maximum number of shards of one host in the record. A host may have more shards than one
/// inventory lists deckies, because shards that are no longer listed stay in the record for a time.
pub const MAX_SHARDS_PER_HOST: usize = 8192;

/// The maximum number of targets in the reply to a dry run.
pub const MAX_PLAN_TARGETS: usize = 1000;
