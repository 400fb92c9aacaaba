//! The data of the machine. The code that makes decisions on it is in the sibling modules of this
//! folder.

mod cancelled_operations;
pub(super) mod command_queue;
pub(super) mod heartbeat_state;
pub(super) mod result_deliveries;

use scuttle_schemas::{BootId, HostId, Text};

use super::backoff::Jitter;
use cancelled_operations::CancelledOperations;
use command_queue::CommandQueue;
use heartbeat_state::HeartbeatState;
use result_deliveries::ResultDeliveries;

/// The identity and the settings of one boot of an agent.
#[derive(Debug, Clone)]
pub struct Config {
    pub host: HostId,
    /// A new `UUIDv7`. The machine replaces it with a later one if the id of an earlier boot sorts
    /// after it.
    pub boot_id: BootId,
    /// The version of the program.
    pub version: Text,
    /// The heartbeat interval in milliseconds, 1 to 3600000.
    pub interval_ms: u32,
    /// The seed of the jitter of all delays.
    pub seed: u64,
}

/// Makes all decisions of one boot of an agent. It accesses no clock, no randomness and no I/O.
#[derive(Debug)]
pub struct Machine {
    pub(super) config: Config,
    pub(super) jitter: Jitter,
    pub(super) connected: bool,
    /// The sequence number of the last report.
    pub(super) sequence: u64,
    /// The highest controller epoch seen.
    pub(super) epoch: u64,
    pub(super) commands: CommandQueue,
    pub(super) results: ResultDeliveries,
    pub(super) cancelled: CancelledOperations,
    pub(super) heartbeats: HeartbeatState,
    /// The time of the next removal of expired entries, on the monotonic clock.
    pub(super) cleanup_at: u64,
}

impl Machine {
    /// Creates the machine of a boot that knows nothing from earlier boots.
    pub(super) fn new(config: Config, cleanup_at: u64) -> Self {
        Self {
            jitter: Jitter::new(config.seed),
            connected: false,
            sequence: 0,
            epoch: 0,
            commands: CommandQueue::default(),
            results: ResultDeliveries::default(),
            cancelled: CancelledOperations::default(),
            heartbeats: HeartbeatState::default(),
            cleanup_at,
            config,
        }
    }

    /// Returns the sequence number for a new report. It is taken when the machine learns of the
    /// observation, so that the numbers have the order of the observations. `handle_inventory_read`
    /// ensures this for inventories, which take time to read.
    pub(super) fn next_sequence(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }
}
