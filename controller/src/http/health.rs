//! Whether the controller can do its work, as `/readyz` tells it.

use tokio::sync::watch;

use crate::connection::Connected;
use crate::shutdown::Shutdown;

/// What the controller is at.
#[derive(Debug, Clone)]
enum Phase {
    Loading,
    Connecting,
    Following(Connected),
    Leading(Connected),
}

/// What a controller that is ready does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// It would take over.
    Following,
    /// It answers.
    Leading,
}

/// What the controller is at, for whoever asks.
#[derive(Debug, Clone)]
pub struct Health {
    phase: watch::Sender<Phase>,
    shutdown: Shutdown,
}

impl Health {
    /// Of a controller that starts.
    pub fn new(shutdown: Shutdown) -> Self {
        Self {
            phase: watch::Sender::new(Phase::Loading),
            shutdown,
        }
    }

    /// It reads its record.
    pub fn loads(&self) {
        self.phase.send_replace(Phase::Loading);
    }

    /// It looks for the NATS server.
    pub fn connects(&self) {
        self.phase.send_replace(Phase::Connecting);
    }

    /// It keeps up with another that leads, and takes over when that is gone.
    pub fn follows(&self, connected: Connected) {
        self.phase.send_replace(Phase::Following(connected));
    }

    /// It answers what comes over this connection.
    pub fn leads(&self, connected: Connected) {
        self.phase.send_replace(Phase::Leading(connected));
    }

    /// What it does for the swarm; if nothing, why.
    pub(crate) fn ready(&self) -> Result<Part, &'static str> {
        if self.shutdown.has_begun() {
            return Err("stopping");
        }
        let (part, connected) = match &*self.phase.borrow() {
            Phase::Loading => return Err("the record is being read"),
            Phase::Connecting => return Err("the NATS server does not answer; the log says why"),
            Phase::Following(connected) => (Part::Following, connected.is_up()),
            Phase::Leading(connected) => (Part::Leading, connected.is_up()),
        };
        if connected {
            Ok(part)
        } else {
            Err("the NATS server is away: reconnecting")
        }
    }
}
