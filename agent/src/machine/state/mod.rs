//! The data of the machine. The decisions are in the files of the parent folder.

mod acknowledgement_limit;
mod cancelled_operations;
pub(super) mod command_queue;
pub(super) mod heartbeat_state;
pub(super) mod result_deliveries;

use scuttle_schemas::{BootId, HostId, Text};

use super::backoff::Jitter;
use super::message_sizes::DEFAULT_MAX_PAYLOAD;
use acknowledgement_limit::AcknowledgementLimit;
use cancelled_operations::CancelledOperations;
use command_queue::CommandQueue;
use heartbeat_state::HeartbeatState;
use result_deliveries::ResultDeliveries;

/// The identity and the settings of one boot of an agent.
#[derive(Debug, Clone)]
pub struct Config {
    pub host: HostId,
    /// A new `UUIDv7`. If the id of an earlier boot is not lower, the machine replaces this id with
    /// a later one.
    pub boot_id: BootId,
    /// The version of the program, which every heartbeat contains.
    pub version: Text,
    /// The heartbeat interval in milliseconds, 1 to 3600000.
    pub interval_ms: u32,
    /// The seed of the random jitter that is applied to delays.
    pub seed: u64,
    /// The maximum number of teardowns that run at the same time, at least 1.
    pub concurrency: usize,
}

/// The state machine of one boot of an agent. It makes all of the agent's decisions, and has no
/// access to a clock, randomness or I/O.
#[derive(Debug)]
pub struct Machine {
    pub(super) config: Config,
    pub(super) jitter: Jitter,
    pub(super) connected: bool,
    /// The maximum size of a message with its headers, in bytes, as the NATS server accepts it.
    pub(super) max_payload: usize,
    /// The sequence number of the last heartbeat or result.
    pub(super) sequence: u64,
    /// The highest controller epoch that a command has contained.
    pub(super) epoch: u64,
    pub(super) commands: CommandQueue,
    pub(super) results: ResultDeliveries,
    pub(super) cancelled: CancelledOperations,
    pub(super) acknowledgement_limit: AcknowledgementLimit,
    pub(super) heartbeats: HeartbeatState,
    /// The time of the next removal of expired entries, in milliseconds on the monotonic clock.
    pub(super) cleanup_at: u64,
}

impl Machine {
    /// Creates a machine with empty state. `restore` adds what earlier boots have stored.
    pub(super) fn new(config: Config, cleanup_at: u64) -> Self {
        Self {
            jitter: Jitter::new(config.seed),
            connected: false,
            max_payload: DEFAULT_MAX_PAYLOAD,
            sequence: 0,
            epoch: 0,
            commands: CommandQueue::new(config.concurrency),
            results: ResultDeliveries::default(),
            cancelled: CancelledOperations::default(),
            acknowledgement_limit: AcknowledgementLimit::default(),
            heartbeats: HeartbeatState::default(),
            cleanup_at,
            config,
        }
    }

    /// Returns the sequence number for a new report. Called as soon as the machine learns of an
    /// observation, so that the numbers follow the order of the observations.
    /// `handle_inventory_read` ensures this order for inventories, which take time to read.
    pub(super) fn next_sequence(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }
}
