//! One teardown: stop, remove, look again. What is reported as removed was looked for and not found; what is left is named.
//!
//! The order makes a crash at any point end well: of each decky one container, the anchor, is kept (stopped) until the others and
//! the networks are gone, so that the next start finds the decky again. Where a network has to stay, because others use it, the
//! anchor stays too: a decky that is not gone stays on the record with its failure, and can be torn down again. Containers
//! that were created after the beginning are left alone.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use scuttle_schemas::DeckyId;
use scuttle_schemas::agents::ProgressStep;
use tokio::time::Instant;

use super::deckies::{Deckies, Member};
use super::engine::{Engine, EngineError};
use super::report::{self, Left, Targets};
use super::{Settings, watch};
use crate::runtime::{ProgressSink, TeardownReport};

/// How long the Engine may be away in the middle of it.
const AWAY: Duration = Duration::from_mins(1);
/// How long something that the Engine refuses is tried again: it may be amid removing it, or busy.
pub(super) const BUSY: Duration = Duration::from_secs(10);
/// Between two tries.
pub(super) const RETRY: Duration = Duration::from_millis(250);

/// Removes a decky, or everything.
pub(super) async fn run(
    settings: &Settings,
    target: Option<DeckyId>,
    progress: ProgressSink,
) -> TeardownReport {
    let job = Arc::new(Job::new(settings.clone(), target, progress, AWAY));
    job.run().await
}

/// A teardown at work.
pub(super) struct Job {
    pub(super) settings: Settings,
    pub(super) target: Option<DeckyId>,
    progress: ProgressSink,
    /// How long the Engine may be away in one go.
    away: Duration,
    /// Absent until it has answered, and when it is lost.
    engine: tokio::sync::Mutex<Option<Engine>>,
    /// Since when it does not answer.
    away_since: Mutex<Option<Instant>>,
    /// The first error of each decky, told if something of it is left.
    errors: Mutex<BTreeMap<DeckyId, String>>,
}

impl Job {
    fn new(
        settings: Settings,
        target: Option<DeckyId>,
        progress: ProgressSink,
        away: Duration,
    ) -> Self {
        Self {
            settings,
            target,
            progress,
            away,
            engine: tokio::sync::Mutex::default(),
            away_since: Mutex::default(),
            errors: Mutex::default(),
        }
    }

    async fn run(self: Arc<Self>) -> TeardownReport {
        match self.clone().remove_all().await {
            Ok(report) => report,
            // Nothing was seen at all.
            Err(error) => report::unverified(self.target.iter(), &error),
        }
    }

    async fn remove_all(self: Arc<Self>) -> Result<TeardownReport, EngineError> {
        let deckies = self.look().await?;
        let targets: Targets = match &self.target {
            Some(decky) => BTreeMap::from([(decky.clone(), deckies.of(decky))]),
            None => deckies.members.clone(),
        };
        self.each(ProgressStep::Stopping, &targets, |_, _| true)
            .await;
        self.each(ProgressStep::Removing, &targets, |_, member| !member.anchor)
            .await;
        // Nothing that was stopped has an endpoint any more.
        let mut left = self.remove_networks(&targets, &deckies, BUSY).await;
        let stays = |decky: &DeckyId| {
            let mut left = left.iter().filter(|left| left.used_by_others);
            left.any(|left| left.decky.as_ref() == Some(decky))
        };
        self.each(ProgressStep::Removing, &targets, |decky, member| {
            member.anchor && !stays(decky)
        })
        .await;
        // An anchor that could not be stopped has held its network.
        if left.iter().any(|left| !left.used_by_others) {
            left = self.remove_networks(&targets, &deckies, BUSY).await;
        }
        left.extend(self.remove_volumes_and_images(&targets).await);
        let total = targets.len() as u32;
        self.progress
            .tell(ProgressStep::Verifying, None, total, total);
        Ok(match self.look().await {
            Ok(now) => report::verified(&targets, &now, &left, &self.errors()),
            Err(error) => report::unverified(targets.keys(), &error),
        })
    }

    async fn look(&self) -> Result<Deckies, EngineError> {
        let preset = &self.settings.preset;
        self.patiently(|engine| async move { watch::look(&engine, preset).await })
            .await
    }

    /// Does one step to all chosen containers, some at a time, and tells which deckies are through with it.
    async fn each(
        self: &Arc<Self>,
        step: ProgressStep,
        targets: &Targets,
        chosen: impl Fn(&DeckyId, &Member) -> bool,
    ) {
        let mut work = Vec::new();
        let mut open: HashMap<DeckyId, usize> = HashMap::new();
        for (decky, members) in targets {
            for member in members.iter().filter(|member| chosen(decky, member)) {
                *open.entry(decky.clone()).or_default() += 1;
                work.push((
                    decky.clone(),
                    member.container.id.clone(),
                    member.container.name.clone(),
                ));
            }
        }
        let total = open.len() as u32;
        let mut done = 0;
        self.progress.tell(step, None, done, total);
        let each = work.into_iter().map(|(decky, id, name)| {
            let job = self.clone();
            async move {
                let ended = match step {
                    ProgressStep::Stopping => job.stop(&id).await,
                    _ => job.remove(&id).await,
                };
                if let Err(error) = ended {
                    let text = error.to_string().replace(&id, &name);
                    job.errors().entry(decky.clone()).or_insert(text);
                }
                decky
            }
        });
        let mut ended = stream::iter(each).buffer_unordered(self.settings.parallel);
        while let Some(decky) = ended.next().await {
            let left = open.entry(decky.clone()).or_default();
            *left = left.saturating_sub(1);
            if *left == 0 {
                done += 1;
            }
            self.progress.tell(step, Some(decky), done, total);
        }
    }

    async fn stop(&self, id: &str) -> Result<(), EngineError> {
        let grace = self.settings.grace;
        let stopped = self.patiently(|engine| async move { engine.stop(id, grace).await });
        match stopped.await {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }

    /// Until it is gone: what refuses may be amid being removed, or become free in a moment.
    async fn remove(&self, id: &str) -> Result<(), EngineError> {
        let end = Instant::now() + BUSY;
        loop {
            let removed = self.patiently(|engine| async move { engine.remove(id).await });
            match removed.await {
                Err(error) if error.is_not_found() => return Ok(()),
                Err(error) if error.is_away() || Instant::now() >= end => return Err(error),
                Err(_) => tokio::time::sleep(RETRY).await,
                Ok(()) => return Ok(()),
            }
        }
    }

    /// Named volumes and images, where they are to go; what others use is kept without a word.
    async fn remove_volumes_and_images(&self, targets: &Targets) -> Vec<Left> {
        let members = || targets.values().flatten().map(|member| &member.container);
        let (mut volumes, mut images) = (BTreeSet::new(), BTreeSet::new());
        if self.settings.remove_volumes {
            volumes.extend(members().flat_map(|it| &it.volumes));
        }
        if self.settings.remove_images {
            images.extend(members().map(|it| &it.image));
        }
        let mut errors = Vec::new();
        let mut note = |ended: Result<(), EngineError>| match ended {
            Err(error) if !error.is_not_found() && !error.is_in_use() => {
                errors.push(Left::of_none(error.to_string()));
            }
            _ => {}
        };
        for volume in volumes {
            note(
                self.patiently(|it| async move { it.remove_volume(volume).await })
                    .await,
            );
        }
        for image in images {
            note(
                self.patiently(|it| async move { it.remove_image(image).await })
                    .await,
            );
        }
        errors
    }

    /// Asks the Engine; while it is away, again and again, at most for `away` in one go over all that is asked.
    pub(super) async fn patiently<T, Answer>(
        &self,
        ask: impl Fn(Engine) -> Answer,
    ) -> Result<T, EngineError>
    where
        Answer: Future<Output = Result<T, EngineError>>,
    {
        loop {
            // One that hangs would take its time again for each of a hundred containers.
            if self.has_given_up() {
                return Err(EngineError::Away {
                    socket: self.settings.socket.clone(),
                    cause: format!("no answer for {} s", self.away.as_secs()),
                });
            }
            let answer = match self.engine().await {
                Ok(engine) => ask(engine).await,
                Err(error) => Err(error),
            };
            match answer {
                Err(error) if error.is_away() => {
                    *self.engine.lock().await = None;
                    lock(&self.away_since).get_or_insert_with(Instant::now);
                    if self.has_given_up() {
                        return Err(error);
                    }
                    tokio::time::sleep(RETRY).await;
                }
                answer => {
                    *lock(&self.away_since) = None;
                    return answer;
                }
            }
        }
    }

    fn has_given_up(&self) -> bool {
        lock(&self.away_since).is_some_and(|since| since.elapsed() >= self.away)
    }

    async fn engine(&self) -> Result<Engine, EngineError> {
        let mut engine = self.engine.lock().await;
        if let Some(engine) = &*engine {
            return Ok(engine.clone());
        }
        let connected = Engine::connect(&self.settings.socket).await?;
        Ok(engine.insert(connected).clone())
    }

    fn errors(&self) -> MutexGuard<'_, BTreeMap<DeckyId, String>> {
        lock(&self.errors)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use scuttle_schemas::OperationId;
    use scuttle_schemas::agents::ReportedOutcome;
    use tokio::sync::mpsc;
    use uuid::Uuid;

    use super::Job;
    use crate::docker::{Preset, Projects, Settings};
    use crate::runtime::{ProgressSink, TeardownReport};

    /// A teardown where no Engine is, and none comes.
    async fn without_engine(decky: Option<&str>) -> TeardownReport {
        let settings = Settings {
            socket: "/nowhere/docker.sock".into(),
            preset: Preset::Compose(Projects::Managed),
            grace: Duration::ZERO,
            parallel: 1,
            remove_volumes: false,
            remove_images: false,
        };
        let operation = OperationId(Uuid::now_v7());
        let progress = ProgressSink::new(operation, mpsc::channel(1).0);
        let target = decky.map(|decky| decky.parse().expect("a decky"));
        let job = Job::new(settings, target, progress, Duration::ZERO);
        Arc::new(job).run().await
    }

    #[tokio::test]
    async fn without_an_engine_nothing_is_said_to_be_gone() {
        for decky in [None, Some("trap")] {
            let report = without_engine(decky).await;
            let error = report.error.expect("an error").to_string();
            for word in ["cannot reach", "unix:///nowhere/docker.sock", "--docker"] {
                assert!(error.contains(word), "{word:?} is in: {error}");
            }
            let outcomes: Vec<_> = report.shards.iter().map(|shard| shard.outcome).collect();
            let expected = decky.map(|_| ReportedOutcome::Failed);
            assert_eq!(outcomes, Vec::from_iter(expected));
        }
    }
}
