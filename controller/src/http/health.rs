//! Whether the controller can do its work, as `/readyz` tells it.

use tokio::sync::watch;

use crate::connection::Connected;
use crate::shutdown::Shutdown;

/// What the controller is at.
#[derive(Debug, Clone)]
enum Phase {
    Loading,
    Connecting,
    Serving(Connected),
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

    /// It answers what comes over this connection.
    pub fn serves(&self, connected: Connected) {
        self.phase.send_replace(Phase::Serving(connected));
    }

    /// Whether a request would be answered; if not, why.
    pub(crate) fn ready(&self) -> Result<(), &'static str> {
        if self.shutdown.has_begun() {
            return Err("stopping");
        }
        match &*self.phase.borrow() {
            Phase::Loading => Err("the record is being read"),
            Phase::Connecting => Err("the NATS server does not answer; the log says why"),
            Phase::Serving(connected) if connected.is_up() => Ok(()),
            Phase::Serving(_) => Err("the NATS server is away: reconnecting"),
        }
    }
}
