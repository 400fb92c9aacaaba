//! The register of known deckies, shared by the inventory and the teardowns.

use scuttle_schemas::agents::ReportedShard;
use tokio::sync::Mutex;

use super::super::engine::client::EngineError;
use super::super::preset::Preset;
use super::grouping::{Deckies, group_by_decky};
use super::listing::Listed;
use super::register::Register;

/// The reason why the inventory cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("{0}")]
    Register(String),
}

/// The register of known deckies, shared by the inventory and the teardowns.
#[derive(Debug)]
pub(crate) struct SharedRegister(Mutex<Register>);

impl SharedRegister {
    pub(crate) fn new(register: Register) -> Self {
        Self(Mutex::new(register))
    }

    /// Groups a listing by decky and updates the register. Returns once the register is durable.
    pub(crate) async fn group(
        &self,
        preset: &Preset,
        listed: &Listed,
    ) -> Result<Deckies, ReadError> {
        let mut register = self.0.lock().await;
        observe(&mut register, preset, listed).await
    }

    /// Groups a listing as [`group`](Self::group) does, and returns the report of each decky as
    /// well. The register is durable first, so that the deployments that are reported never change
    /// without a new container.
    pub(crate) async fn report(
        &self,
        preset: &Preset,
        listed: &Listed,
    ) -> Result<(Deckies, Vec<ReportedShard>), ReadError> {
        let mut register = self.0.lock().await;
        let deckies = observe(&mut register, preset, listed).await?;
        let shards = deckies.to_reported_shards(&register);
        Ok((deckies, shards))
    }
}

async fn observe(
    register: &mut Register,
    preset: &Preset,
    listed: &Listed,
) -> Result<Deckies, ReadError> {
    let deckies = group_by_decky(preset, listed, register);
    // A partial listing may have missed an event, so only a full one makes the register forget.
    let is_complete = listed.is_full && listed.unreadable.is_empty();
    register.observe(deckies.to_seen(), listed.started, is_complete);
    if let Some(write) = register.pending_write() {
        let written = tokio::task::spawn_blocking(move || write.write()).await;
        let written = written.unwrap_or_else(|panic| Err(panic.to_string()));
        written.map_err(ReadError::Register)?;
        register.mark_durable();
    }
    Ok(deckies)
}
