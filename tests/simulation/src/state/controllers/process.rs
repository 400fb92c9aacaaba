//! A controller and its process.

use scuttle_controller::outbound::encoder::Encoder;
use scuttle_core::State;

use crate::seed::seeded_rng::SeededRng;
use crate::state::controllers::leader_term::LeaderTerm;
use crate::storage::controller_store::ControllerStore;
use crate::storage::disk::Disk;

const ENCODER_BUFFER_SIZE: usize = 16 << 10;

pub(crate) struct Controller {
    pub(crate) disk: Disk,
    pub(crate) process: Option<ControllerProcess>,
    /// The number of times that a process has loaded the store so far. Events contain this number,
    /// so that an event for an earlier process does not reach a later process.
    pub(crate) run_number: u64,
    pub(crate) connected: bool,
    pub(crate) clock: i64,
    /// The current or last pause of the process.
    pub(crate) pause: Pause,
    pub(crate) encoder: Encoder,
    /// The simulated time at which the last relay of this controller arrives at the leader of the
    /// first partition.
    pub(crate) relayed_until: u64,
}

/// A pause of a process, in simulated milliseconds.
#[derive(Default)]
pub(crate) struct Pause {
    pub(crate) since: u64,
    pub(crate) until: u64,
    /// Whether the process's clock stopped too, as it does when a whole machine is paused.
    pub(crate) with_clock: bool,
}

/// One run of a controller: from loading its store to the end of the process, or of its term as
/// leader.
pub(crate) struct ControllerProcess {
    pub(crate) state: State,
    pub(crate) store: ControllerStore,
    /// The time until which the controller believes that it holds the lease, or `None` if it has
    /// not acquired a lease.
    pub(crate) lease: Option<u64>,
    /// The memory of the controller while it leads, or `None` while it follows.
    pub(crate) term: Option<LeaderTerm>,
}

impl Controller {
    pub(crate) fn new(rng: &mut SeededRng) -> Self {
        Self {
            disk: Disk::with_new_store(),
            process: None,
            run_number: 0,
            connected: true,
            clock: rng.pick_below(120_001).cast_signed() - 60_000,
            pause: Pause::default(),
            encoder: Encoder::new(ENCODER_BUFFER_SIZE),
            relayed_until: 0,
        }
    }

    /// Returns the process if `run` is its current run, and `None` if the run has ended.
    pub(crate) fn process_of_run(&mut self, run: u64) -> Option<&mut ControllerProcess> {
        self.process.as_mut().filter(|_| self.run_number == run)
    }

    pub(crate) fn leader_term(&mut self) -> Option<&mut LeaderTerm> {
        self.process.as_mut()?.term.as_mut()
    }

    pub(crate) fn is_leader(&self) -> bool {
        (self.process.as_ref()).is_some_and(|process| process.term.is_some())
    }
}
