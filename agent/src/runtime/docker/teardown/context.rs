//! What the parts of a teardown share.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::super::notes::TeardownNotes;
use super::super::settings::DockerSettings;
use super::super::shared_register::SharedRegister;
use super::super::stop_settings::StopSettingsCache;
use crate::evidence::store::EvidenceStore;

/// The duration for which a removal that the Engine rejects is retried. The Engine may be busy.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// The duration for which the removal of a network is retried. A busy Engine releases the endpoints
/// of removed containers late.
pub(super) const ENDPOINT_TIMEOUT: Duration = Duration::from_secs(15);

/// What all teardowns of a host share.
#[derive(Clone, Copy)]
pub(in super::super) struct TeardownContext<'a> {
    pub(in super::super) settings: &'a DockerSettings,
    pub(in super::super) register: &'a SharedRegister,
    /// Limits the removals that run at the same time.
    pub(in super::super) removals: &'a Semaphore,
    pub(in super::super) notes: &'a TeardownNotes,
    pub(in super::super) stop_settings: &'a StopSettingsCache,
    /// The store for evidence, or `None` if no evidence is kept.
    pub(in super::super) evidence: Option<&'a Arc<EvidenceStore>>,
}
