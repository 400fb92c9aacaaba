//! One teardown: removes deckies, and checks what is left. A decky is reported as removed only
//! after the agent has looked again and found neither its containers nor its networks. The report
//! names every object that is left.
//!
//! Each decky has a separate pipeline (`decky_pipeline`), so that a container that hangs delays
//! only its own decky. Every point of a crash is recoverable: the register has every decky before
//! anything is removed, so the next start finds what is left. Containers that were created after
//! the start of the teardown are not touched.

pub(super) mod context;
mod decky_pipeline;
mod decky_progress;
mod images;
mod networks;
mod outcome;
mod report;
mod stop_order;
mod volumes;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::join_all;
use scuttle_schemas::DeckyId;
use scuttle_schemas::agents::Evidence;
use tokio::sync::Semaphore;

use self::context::TeardownContext;
use self::decky_pipeline::DeckyPipeline;
use self::decky_progress::DeckyProgress;
use self::outcome::{Leftover, Targets};
use self::report::AfterTeardown;
use super::deckies::grouping::{Deckies, Decky};
use super::deckies::listing::Listed;
use super::deckies::shared_register::ReadError;
use super::engine::retry::RetryingEngine;
use super::preset::Preset;
use crate::evidence::manifest::Sidecar;
use crate::runtime::{ProgressSink, Teardown, TeardownReport};

/// The maximum duration for which the Engine may be unreachable during a teardown.
const MAX_OUTAGE: Duration = Duration::from_mins(1);
/// The maximum number of containers that one teardown stops at the same time. Waiting for a stop
/// costs the Engine nothing, but each stop needs a connection.
const MAX_STOPS: usize = 512;

/// Removes one decky, or all deckies of the host.
pub(super) async fn run(
    context: TeardownContext<'_>,
    teardown: Teardown,
    progress: ProgressSink,
) -> TeardownReport {
    let engine = RetryingEngine::new(context.settings.socket.clone(), MAX_OUTAGE);
    run_on(&engine, context, teardown, progress).await
}

async fn run_on(
    engine: &RetryingEngine,
    context: TeardownContext<'_>,
    teardown: Teardown,
    progress: ProgressSink,
) -> TeardownReport {
    let job = TeardownJob {
        engine,
        context,
        teardown,
    };
    let saved = job.find_saved_evidence().await;
    match job.list().await {
        Ok((listed, before)) => job.remove(&listed, before, saved, progress).await,
        // The containers could not even be listed once.
        Err(error) => {
            let targets = saved.keys().chain(&job.teardown.decky_id);
            let targets: BTreeSet<_> = targets.collect();
            let targets = targets
                .into_iter()
                .map(|id| (id, job.to_evidence(saved.get(id))));
            report::build_unverified(targets, &BTreeMap::new(), &error)
        }
    }
}

/// The descriptions of the archives that earlier attempts of an operation have saved.
type SavedEvidence = BTreeMap<DeckyId, Sidecar>;

/// A teardown in progress.
struct TeardownJob<'a> {
    engine: &'a RetryingEngine,
    context: TeardownContext<'a>,
    teardown: Teardown,
}

impl TeardownJob<'_> {
    async fn list(&self) -> Result<(Listed, Deckies), ReadError> {
        let preset = &self.context.settings.preset;
        let listed = self
            .engine
            .call(|engine| async move { Listed::read(&engine, preset).await })
            .await?;
        let deckies = self.context.register.group(preset, &listed).await?;
        Ok((listed, deckies))
    }

    async fn remove(
        &self,
        listed: &Listed,
        before: Deckies,
        saved: SavedEvidence,
        progress: ProgressSink,
    ) -> TeardownReport {
        let (mut targets, mut refused) = self.choose_targets(before);
        // An earlier attempt, which was interrupted, may have removed these deckies completely.
        for (decky, sidecar) in &saved {
            if targets.contains_key(decky) || refused.contains_key(decky) {
                continue;
            }
            let mut containers = sidecar.manifest.containers.iter();
            match containers.find(|container| listed.has_object(&container.id)) {
                Some(left) => {
                    let error = report::describe_unattributed(&left.name);
                    refused.insert(decky.clone(), error);
                }
                None => {
                    targets.insert(decky.clone(), Decky::default());
                }
            }
        }
        let progress = DeckyProgress::new(progress, targets.keys());
        let stops = Semaphore::new(MAX_STOPS);
        let operation = self.teardown.operation_id;
        // Keeps the archives of this operation until the end of the teardown.
        let _open = self.context.evidence.map(|store| store.begin(operation));
        let pipeline = DeckyPipeline {
            operation,
            engine: self.engine,
            context: self.context,
            not_after: self.teardown.not_after,
            progress: &progress,
            stops: &stops,
        };
        let removed = targets.iter().map(async |(id, decky)| {
            let outcome = pipeline.run(id, decky).await;
            (id.clone(), outcome)
        });
        let mut outcomes: BTreeMap<_, _> = join_all(removed).await.into_iter().collect();
        for (decky, outcome) in &mut outcomes {
            if outcome.evidence.is_none() {
                outcome.evidence = self.to_evidence(saved.get(decky));
            }
        }
        let is_complete =
            refused.is_empty() && outcomes.values().all(|outcome| outcome.errors.is_empty());
        let shared_errors = self.remove_shared_objects(&targets, is_complete).await;
        progress.report_verifying();
        match self.list().await {
            Ok((listed, now)) => {
                let after = AfterTeardown {
                    preset: &self.context.settings.preset,
                    listed: &listed,
                    now: &now,
                    outcomes: &outcomes,
                    shared_errors: &shared_errors,
                    refused: &refused,
                };
                report::build_verified(&targets, &after)
            }
            Err(error) => {
                let targets = outcomes.iter();
                let targets = targets.map(|(id, outcome)| (id, outcome.evidence.clone()));
                report::build_unverified(targets, &refused, &error)
            }
        }
    }

    /// Returns the evidence that earlier attempts of this operation have saved, before the agent
    /// was interrupted.
    async fn find_saved_evidence(&self) -> SavedEvidence {
        let Some(store) = self.context.evidence.cloned() else {
            return SavedEvidence::new();
        };
        let operation = self.teardown.operation_id;
        let found = tokio::task::spawn_blocking(move || store.find_saved(operation)).await;
        found.unwrap_or_default()
    }

    fn to_evidence(&self, sidecar: Option<&Sidecar>) -> Option<Evidence> {
        Some(self.context.evidence?.to_evidence(sidecar?.clone()))
    }

    /// Returns the deckies to remove, and the errors of those that are not removed.
    fn choose_targets(&self, mut before: Deckies) -> (Targets, BTreeMap<DeckyId, String>) {
        let preset = &self.context.settings.preset;
        let mut refused = BTreeMap::new();
        let mut targets = match &self.teardown.decky_id {
            None => before.by_id,
            Some(id) => {
                let decky = before.by_id.remove(id);
                // A decky that cannot be attributed, or that may be unreadable, is never absent.
                if decky.is_none() {
                    if let Some(text) = before.foreign.remove(id) {
                        let error = format!(
                            "not removed: {text}; add the label to its containers, or remove it with `docker compose down`"
                        );
                        refused.insert(id.clone(), error);
                    } else if let Some(container) = before.find_unreadable(preset, id) {
                        let error = format!("cannot check what is left: cannot read {container}");
                        refused.insert(id.clone(), error);
                    }
                }
                BTreeMap::from([(id.clone(), decky.unwrap_or_default())])
            }
        };
        if !self.teardown.override_protection {
            for (id, decky) in &targets {
                if decky.protected {
                    let error = "protected by the label scuttle.protected=true; request the teardown with --override-protection";
                    refused.insert(id.clone(), error.to_owned());
                }
            }
        }
        targets.retain(|id, _| !refused.contains_key(id));
        (targets, refused)
    }

    /// Removes what deckies may share: networks of a `decnet` host, volumes and images. The
    /// networks are kept if a decky may still need them. Returns the errors.
    async fn remove_shared_objects(&self, targets: &Targets, is_complete: bool) -> Vec<Leftover> {
        let settings = self.context.settings;
        let mut errors = Vec::new();
        if let (Preset::Decnet { project }, None, true) =
            (&settings.preset, &self.teardown.decky_id, is_complete)
        {
            let (engine, context) = (self.engine, self.context);
            errors.extend(networks::remove_fleet(engine, context, project, targets).await);
        }
        if settings.remove_volumes {
            errors.extend(volumes::remove(self.engine, self.context, targets).await);
        }
        if settings.remove_images {
            errors.extend(images::remove(self.engine, self.context, targets).await);
        }
        errors
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use scuttle_schemas::agents::ReportedOutcome;
    use scuttle_schemas::{OperationId, Timestamp};
    use tokio::sync::Semaphore;
    use uuid::Uuid;

    use super::super::deckies::register::Register;
    use super::super::deckies::shared_register::SharedRegister;
    use super::super::engine::stop_settings::StopSettingsCache;
    use super::super::notes::TeardownNotes;
    use super::super::preset::{Preset, ProjectFilter};
    use super::super::settings::DockerSettings;
    use super::{RetryingEngine, TeardownContext, run_on};
    use crate::runtime::{ProgressSink, Teardown, TeardownReport};

    /// Runs a teardown while no Engine is running.
    async fn tear_down_without_engine(decky: Option<&str>) -> TeardownReport {
        let settings = DockerSettings {
            socket: "/nowhere/docker.sock".into(),
            preset: Preset::Compose(ProjectFilter::Managed),
            grace: Duration::ZERO,
            max_grace: Duration::ZERO,
            parallel: 1,
            remove_volumes: false,
            remove_images: false,
        };
        let context = TeardownContext {
            settings: &settings,
            register: &SharedRegister::new(Register::open("/nowhere".as_ref(), "")),
            removals: &Semaphore::new(1),
            notes: &TeardownNotes::default(),
            stop_settings: &StopSettingsCache::default(),
            evidence: None,
        };
        let operation_id = OperationId(Uuid::now_v7());
        let teardown = Teardown {
            operation_id,
            decky_id: decky.map(|decky| decky.parse().expect("a decky")),
            not_after: Timestamp::from_millis(0),
            override_protection: false,
        };
        let engine = RetryingEngine::new(settings.socket.clone(), Duration::ZERO);
        run_on(
            &engine,
            context,
            teardown,
            ProgressSink::discard(operation_id),
        )
        .await
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
