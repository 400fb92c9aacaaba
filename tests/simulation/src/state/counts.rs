//! What is counted during a run.

/// What was counted in one seed, or in many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Events.
    pub steps: u64,
    /// Controllers and agents killed, or ended by their disk.
    pub crashes: u64,
    /// Losses of power.
    pub power_losses: u64,
    /// Take-overs, where several controllers share a journal.
    pub takeovers: u64,
    /// Messages sent.
    pub sent: u64,
    /// Messages lost on the way.
    pub dropped: u64,
    /// Operations accepted.
    pub accepted: u64,
    /// Deckies removed by agents.
    pub removed: u64,
}

impl Counts {
    /// Adds another seed's.
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
