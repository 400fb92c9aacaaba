//! The counts that summarize a run.

/// The counts of one seed, or the sums for several seeds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Events handled.
    pub steps: u64,
    /// Controllers and agents that were killed, or that ended because of their disk.
    pub crashes: u64,
    /// Power losses of controllers.
    pub power_losses: u64,
    /// Takeovers, if several controllers share a journal.
    pub takeovers: u64,
    /// Messages sent.
    pub sent: u64,
    /// Messages lost.
    pub dropped: u64,
    /// Operations accepted.
    pub accepted: u64,
    /// Deckies removed by agents.
    pub removed: u64,
}

impl Counts {
    /// Adds the counts of another seed.
    pub fn add(&mut self, other: &Self) {
        self.steps += other.steps;
        self.crashes += other.crashes;
        self.power_losses += other.power_losses;
        self.takeovers += other.takeovers;
        self.sent += other.sent;
        self.dropped += other.dropped;
        self.accepted += other.accepted;
        self.removed += other.removed;
    }
}
