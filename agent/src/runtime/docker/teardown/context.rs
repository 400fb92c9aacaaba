//! The context and the timeouts that the steps of a teardown share.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::super::deckies::shared_register::SharedRegister;
use super::super::engine::stop_settings::StopSettingsCache;
use super::super::notes::TeardownNotes;
use super::super::settings::DockerSettings;
use crate::evidence::store::EvidenceStore;

/// The duration for which a removal that the Engine rejects is retried. The Engine may be busy.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// The duration for which the removal of a network is retried. A busy Engine releases the endpoints
/// of removed containers late.
pub(super) const ENDPOINT_TIMEOUT: Duration = Duration::from_secs(15);

/// The context that all teardowns of a host share.
#[derive(Clone, Copy)]
pub(crate) struct TeardownContext<'a> {
    pub(crate) settings: &'a DockerSettings,
    pub(crate) register: &'a SharedRegister,
    /// Limits the removals that run at the same time.
    pub(crate) removals: &'a Semaphore,
    pub(crate) notes: &'a TeardownNotes,
    pub(crate) stop_settings: &'a StopSettingsCache,
    /// The store for evidence, or `None` if no evidence is kept.
    pub(crate) evidence: Option<&'a Arc<EvidenceStore>>,
}
