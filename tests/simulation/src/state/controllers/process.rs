//! A controller and its process.

use scuttle_controller::outbound::encoder::Encoder;
use scuttle_core::State;

use crate::seed::seeded_rng::SeededRng;
use crate::state::controllers::leader_term::LeaderTerm;
use crate::storage::controller_store::ControllerStore;
use crate::storage::disk::Disk;

/// Bytes of messages that are encoded into one piece of memory.
const ENCODER_BUFFER_SIZE: usize = 16 << 10;

pub(crate) struct Controller {
    pub(crate) disk: Disk,
    pub(crate) process: Option<ControllerProcess>,
    /// Counts what begins with reading the store, so that what was to happen to the one before does not happen to the next.
    pub(crate) run_number: u64,
    pub(crate) connected: bool,
    pub(crate) clock: i64,
    /// The process is stopped, or was.
    pub(crate) pause: Pause,
    pub(crate) encoder: Encoder,
    /// When the last of what it told the first partition's leader comes there.
    pub(crate) relayed_until: u64,
}

/// When a process was stopped.
#[derive(Default)]
pub(crate) struct Pause {
    pub(crate) since: u64,
    /// It goes on then.
    pub(crate) until: u64,
    /// Its clock stood still as well, as that of a machine does that is stopped as a whole.
    pub(crate) with_clock: bool,
}

/// One run of a controller: from reading its store to the end of the process, or of its term.
pub(crate) struct ControllerProcess {
    pub(crate) state: State,
    pub(crate) store: ControllerStore,
    /// Until when the lease is its own, by its own view.
    pub(crate) lease: Option<u64>,
    /// What it has in hand, if it leads.
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

    /// The process, if it is this run of it.
    pub(crate) fn process_of_run(&mut self, run: u64) -> Option<&mut ControllerProcess> {
        self.process.as_mut().filter(|_| self.run_number == run)
    }

    /// What it has in hand, if it leads.
    pub(crate) fn leader_term(&mut self) -> Option<&mut LeaderTerm> {
        self.process.as_mut()?.term.as_mut()
    }

    pub(crate) fn is_leader(&self) -> bool {
        (self.process.as_ref()).is_some_and(|process| process.term.is_some())
    }
}
