//! One teardown: stops the containers, removes them, and checks what is left. A decky is reported
//! as removed only after the agent has looked for its containers and found none. The report names
//! every object that is left.
//!
//! The order of the steps makes a crash at any point recoverable. One container of each decky, the
//! anchor, is stopped but kept until the other containers and the networks are gone, so that the
//! next start finds the decky again. If a network has to be kept because other containers use it,
//! the anchor is kept too. The decky then remains in the record as failed and can be torn down
//! again. Containers that were created after the start of the teardown are not touched.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use scuttle_schemas::DeckyId;
use scuttle_schemas::agents::ProgressStep;
use tokio::time::Instant;

use super::deckies::{Deckies, Member};
use super::engine::EngineError;
use super::engine_retry::{RETRY_DELAY, RetryingEngine};
use super::listing::list_deckies;
use super::networks::NetworkRemoval;
use super::report::{self, Leftover, Targets};
use super::settings::DockerSettings;
use crate::runtime::{ProgressSink, TeardownReport};

/// The maximum duration of an outage of the Engine during a teardown.
const MAX_OUTAGE: Duration = Duration::from_mins(1);
/// The timeout for a removal that the Engine rejects and the agent retries. The Engine may be busy,
/// or may already be removing the object.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Removes one decky, or all deckies of the host if `target` is `None`.
pub(super) async fn run(
    settings: &DockerSettings,
    target: Option<DeckyId>,
    progress: ProgressSink,
) -> TeardownReport {
    let job = TeardownJob::new(settings.clone(), target, progress, MAX_OUTAGE);
    Arc::new(job).run().await
}

/// A teardown in progress.
struct TeardownJob {
    settings: DockerSettings,
    target: Option<DeckyId>,
    progress: ProgressSink,
    engine: RetryingEngine,
    /// The first error of each decky, which is reported only if the decky is not completely
    /// removed.
    errors: Mutex<BTreeMap<DeckyId, String>>,
}

/// A container to stop or remove.
struct TargetContainer {
    decky: DeckyId,
    id: String,
    name: String,
}

impl TeardownJob {
    fn new(
        settings: DockerSettings,
        target: Option<DeckyId>,
        progress: ProgressSink,
        max_outage: Duration,
    ) -> Self {
        Self {
            engine: RetryingEngine::new(settings.socket.clone(), max_outage),
            settings,
            target,
            progress,
            errors: Mutex::default(),
        }
    }

    async fn run(self: Arc<Self>) -> TeardownReport {
        match self.clone().remove_targets().await {
            Ok(report) => report,
            // The containers could not even be listed once.
            Err(error) => report::build_unverified(self.target.iter(), &error),
        }
    }

    async fn remove_targets(self: Arc<Self>) -> Result<TeardownReport, EngineError> {
        let before = self.list().await?;
        let targets: Targets = match &self.target {
            Some(decky) => BTreeMap::from([(decky.clone(), before.members_of(decky))]),
            None => before.members.clone(),
        };
        let networks = NetworkRemoval {
            engine: &self.engine,
            preset: &self.settings.preset,
            is_whole_host: self.target.is_none(),
            targets: &targets,
            before: &before,
        };
        self.process(ProgressStep::Stopping, &targets, |_, _| true)
            .await;
        self.process(ProgressStep::Removing, &targets, |_, member| {
            !member.is_anchor
        })
        .await;
        // Stopped containers have no endpoints, so the remaining anchors do not block the networks.
        let mut leftovers = networks.run(BUSY_TIMEOUT).await;
        let keeps_anchor = |decky: &DeckyId| {
            let mut used = leftovers.iter().filter(|leftover| leftover.used_by_others);
            used.any(|leftover| leftover.decky.as_ref() == Some(decky))
        };
        self.process(ProgressStep::Removing, &targets, |decky, member| {
            member.is_anchor && !keeps_anchor(decky)
        })
        .await;
        // An anchor that could not be stopped may have blocked its network until now.
        if leftovers.iter().any(|leftover| !leftover.used_by_others) {
            leftovers = networks.run(BUSY_TIMEOUT).await;
        }
        leftovers.extend(self.remove_volumes_and_images(&targets).await);
        let total = targets.len() as u32;
        self.progress
            .report(ProgressStep::Verifying, None, total, total);
        Ok(match self.list().await {
            Ok(now) => report::build_verified(&targets, &now, &leftovers, &self.errors()),
            Err(error) => report::build_unverified(targets.keys(), &error),
        })
    }

    async fn list(&self) -> Result<Deckies, EngineError> {
        let preset = &self.settings.preset;
        self.engine
            .call(|engine| async move { list_deckies(&engine, preset).await })
            .await
    }

    /// Stops or removes the selected containers, several at a time. Progress is counted in deckies.
    async fn process(
        self: &Arc<Self>,
        step: ProgressStep,
        targets: &Targets,
        is_selected: impl Fn(&DeckyId, &Member) -> bool,
    ) {
        let mut containers = Vec::new();
        let mut remaining: HashMap<DeckyId, usize> = HashMap::new();
        for (decky, members) in targets {
            for member in members.iter().filter(|member| is_selected(decky, member)) {
                *remaining.entry(decky.clone()).or_default() += 1;
                containers.push(TargetContainer {
                    decky: decky.clone(),
                    id: member.container.id.clone(),
                    name: member.container.name.clone(),
                });
            }
        }
        let total = remaining.len() as u32;
        let mut done = 0;
        self.progress.report(step, None, done, total);
        let work = containers.into_iter().map(|container| {
            let job = self.clone();
            async move {
                job.process_container(step, &container).await;
                container.decky
            }
        });
        let mut finished = stream::iter(work).buffer_unordered(self.settings.parallel);
        while let Some(decky) = finished.next().await {
            let count = remaining.entry(decky.clone()).or_default();
            *count = count.saturating_sub(1);
            if *count == 0 {
                done += 1;
            }
            self.progress.report(step, Some(decky), done, total);
        }
    }

    async fn process_container(&self, step: ProgressStep, container: &TargetContainer) {
        let TargetContainer { decky, id, name } = container;
        let outcome = match step {
            ProgressStep::Stopping => self.stop(id).await,
            _ => self.remove(id).await,
        };
        if let Err(error) = outcome {
            let text = error.to_string().replace(id, name);
            self.errors().entry(decky.clone()).or_insert(text);
        }
    }

    async fn stop(&self, id: &str) -> Result<(), EngineError> {
        let grace = self.settings.grace;
        let stopped = (self.engine)
            .call(|engine| async move { engine.stop_container(id, grace).await })
            .await;
        match stopped {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }

    /// Removes a container. Retries for up to `BUSY_TIMEOUT` while the Engine rejects the removal,
    /// because the Engine may already be removing the container.
    async fn remove(&self, id: &str) -> Result<(), EngineError> {
        let end = Instant::now() + BUSY_TIMEOUT;
        loop {
            let removed = (self.engine)
                .call(|engine| async move { engine.remove_container(id).await })
                .await;
            match removed {
                Err(error) if error.is_not_found() => return Ok(()),
                Err(error) if error.is_unreachable() || Instant::now() >= end => return Err(error),
                Err(_) => tokio::time::sleep(RETRY_DELAY).await,
                Ok(()) => return Ok(()),
            }
        }
    }

    /// Removes the named volumes and the images of the targets, if the settings say so, and returns
    /// those that are left. Volumes and images that other containers use are kept without an error.
    async fn remove_volumes_and_images(&self, targets: &Targets) -> Vec<Leftover> {
        let containers = || targets.values().flatten().map(|member| &member.container);
        let (mut volumes, mut images) = (BTreeSet::new(), BTreeSet::new());
        if self.settings.remove_volumes {
            volumes.extend(containers().flat_map(|container| &container.volumes));
        }
        if self.settings.remove_images {
            images.extend(containers().map(|container| &container.image));
        }
        let mut leftovers = Vec::new();
        let mut note_error = |removed: Result<(), EngineError>| match removed {
            Err(error) if !error.is_not_found() && !error.is_in_use() => {
                leftovers.push(Leftover::new(error.to_string()));
            }
            _ => {}
        };
        for volume in volumes {
            let remove = self
                .engine
                .call(|engine| async move { engine.remove_volume(volume).await });
            note_error(remove.await);
        }
        for image in images {
            let remove = self
                .engine
                .call(|engine| async move { engine.remove_image(image).await });
            note_error(remove.await);
        }
        leftovers
    }

    fn errors(&self) -> MutexGuard<'_, BTreeMap<DeckyId, String>> {
        self.errors.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use scuttle_schemas::OperationId;
    use scuttle_schemas::agents::ReportedOutcome;
    use uuid::Uuid;

    use super::super::deckies::{Preset, ProjectFilter};
    use super::{DockerSettings, TeardownJob};
    use crate::runtime::{ProgressSink, TeardownReport};

    /// Runs a teardown while no Engine is running.
    async fn tear_down_without_engine(decky: Option<&str>) -> TeardownReport {
        let settings = DockerSettings {
            socket: "/nowhere/docker.sock".into(),
            preset: Preset::Compose(ProjectFilter::Managed),
            grace: Duration::ZERO,
            parallel: 1,
            remove_volumes: false,
            remove_images: false,
        };
        let progress = ProgressSink::discard(OperationId(Uuid::now_v7()));
        let target = decky.map(|decky| decky.parse().expect("a decky"));
        let job = TeardownJob::new(settings, target, progress, Duration::ZERO);
        Arc::new(job).run().await
    }

    #[tokio::test]
    async fn without_an_engine_no_decky_is_reported_as_gone() {
        for decky in [None, Some("trap")] {
            let report = tear_down_without_engine(decky).await;
            let error = report.error.expect("an error").to_string();
            for word in ["cannot reach", "unix:///nowhere/docker.sock", "--docker"] {
                assert!(error.contains(word), "{word:?} is missing in: {error}");
            }
            let outcomes: Vec<_> = report.shards.iter().map(|shard| shard.outcome).collect();
            let expected = decky.map(|_| ReportedOutcome::Failed);
            assert_eq!(outcomes, Vec::from_iter(expected));
        }
    }
}
