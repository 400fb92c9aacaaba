//! The removal of one decky: stop its containers, keep the evidence, remove the containers, then
//! their networks.

use std::time::Duration;

use futures_util::future::join_all;
use scuttle_schemas::agents::{Evidence, ProgressStep};
use scuttle_schemas::{DeckyId, OperationId, Timestamp};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::super::deckies::grouping::{Decky, Member};
use super::super::engine::client::EngineError;
use super::super::engine::container::Container;
use super::super::engine::retry::{RETRY_DELAY, RetryingEngine};
use super::super::evidence::{self, EvidenceJob};
use super::context::{BUSY_TIMEOUT, TeardownContext};
use super::decky_progress::DeckyProgress;
use super::networks;
use super::outcome::DeckyOutcome;
use super::stop_order::find_dependents;
use crate::clock::wall_clock;

/// The time that is kept for the verification and the result at the end of an operation, in
/// milliseconds.
const RESULT_TIME_MS: i64 = 5_000;
/// The minimum time for the Engine to kill a container after its grace period, even if the
/// operation's deadline has passed.
const MIN_CALL_TIME: Duration = Duration::from_secs(5);
/// The minimum time for saving the evidence of a decky, even if the operation's deadline has
/// passed.
const MIN_EVIDENCE_TIME: Duration = Duration::from_secs(30);

/// Removes deckies, one per call of `run`.
pub(super) struct DeckyPipeline<'a> {
    pub(super) engine: &'a RetryingEngine,
    pub(super) context: TeardownContext<'a>,
    pub(super) operation: OperationId,
    /// The deadline of the operation.
    pub(super) not_after: Timestamp,
    pub(super) progress: &'a DeckyProgress,
    /// Limits the containers that are stopped at the same time.
    pub(super) stops: &'a Semaphore,
}

impl DeckyPipeline<'_> {
    pub(super) async fn run(&self, id: &DeckyId, decky: &Decky) -> DeckyOutcome {
        let stopped = self.stop_all(&decky.members).await;
        let evidence = match self.save_evidence(id, decky).await {
            Ok(evidence) => evidence,
            Err(error) => {
                self.keep_stopped(&decky.members).await;
                self.progress.finish(id);
                let stop_errors = stopped.into_iter().filter_map(Result::err);
                return DeckyOutcome {
                    errors: std::iter::once(error).chain(stop_errors).collect(),
                    evidence: None,
                };
            }
        };
        self.progress.enter(id, ProgressStep::Removing);
        let removed = (decky.members.iter().zip(&stopped))
            .map(|(member, stopped)| self.remove(member, stopped.is_ok()));
        let removed = join_all(removed).await;
        if removed.iter().any(Option::is_some) {
            self.keep_stopped(&decky.members).await;
        }
        let mut errors: Vec<_> = stopped.into_iter().filter_map(Result::err).collect();
        errors.extend(removed.into_iter().flatten());
        let own_containers: Vec<_> = (decky.members.iter())
            .map(|member| member.container.name.as_str())
            .collect();
        for network in &decky.networks {
            let removals = self.context.removals;
            let removed = networks::remove(self.engine, removals, network, &own_containers).await;
            errors.extend(removed.err());
        }
        self.progress.finish(id);
        DeckyOutcome { errors, evidence }
    }

    /// Saves the evidence of the stopped containers, if evidence is kept.
    ///
    /// # Errors
    /// If the evidence could not be saved and the settings require it. The containers must then not
    /// be removed.
    async fn save_evidence(&self, id: &DeckyId, decky: &Decky) -> Result<Option<Evidence>, String> {
        let Some(store) = self.context.evidence else {
            return Ok(None);
        };
        if decky.members.is_empty() {
            return Ok(None);
        }
        self.progress.enter(id, ProgressStep::SavingEvidence);
        let containers: Vec<_> = (decky.members.iter())
            .map(|member| member.container.clone())
            .collect();
        let engine = self.engine.call(|engine| async move { Ok(engine) }).await;
        let saved = match engine {
            Ok(engine) => {
                let job = EvidenceJob {
                    docker: engine.client(),
                    socket: &self.context.settings.socket,
                    store,
                    operation: self.operation,
                    decky: id,
                    containers: &containers,
                };
                let limit = self
                    .time_left()
                    .saturating_sub(BUSY_TIMEOUT)
                    .max(MIN_EVIDENCE_TIME);
                match timeout(limit, evidence::save(job)).await {
                    Ok(saved) => saved.map_err(|error| error.to_string()),
                    Err(_) => Err(format!(
                        "not done within {} s, and the operation's deadline is near",
                        limit.as_secs()
                    )),
                }
            }
            Err(error) => Err(error.to_string()),
        };
        let object = format!("evidence of decky {id}");
        match saved {
            Ok(evidence) => {
                self.context.notes.clear(&object);
                Ok(Some(evidence))
            }
            Err(error) if store.settings().required => Err(format!(
                "cannot save the evidence: {error}; the decky is removed by a later teardown that can save it"
            )),
            Err(error) => {
                tracing::warn!(operation_id = %self.operation, decky_id = %id, "cannot save the evidence: {error}");
                let note = format!("{object} was not saved: {error}");
                self.context.notes.set(&object, &note);
                Ok(None)
            }
        }
    }

    /// Stops the containers of a decky. A container is stopped when the containers that depend on
    /// it have stopped, or could not be stopped. Returns the outcome for each container.
    async fn stop_all(&self, members: &[Member]) -> Vec<Result<(), String>> {
        let prepared = members.iter().map(|member| self.prepare_stop(member));
        let graces = join_all(prepared).await;
        let dependents = find_dependents(members);
        let stopped: Vec<_> = members.iter().map(|_| CancellationToken::new()).collect();
        let stops = (0..members.len()).map(|index| {
            let (dependents, stopped) = (&dependents, &stopped);
            let grace = &graces[index];
            async move {
                for dependent in &dependents[index] {
                    stopped[*dependent].cancelled().await;
                }
                // A container whose settings could not be read or changed is stopped all the same.
                let (grace, error) = match grace {
                    Ok(grace) => (*grace, None),
                    Err(error) => (self.context.settings.grace, Some(error.clone())),
                };
                let outcome = self.stop(&members[index].container, grace).await;
                stopped[index].cancel();
                outcome.and(error.map_or(Ok(()), Err))
            }
        });
        join_all(stops).await
    }

    /// Sets the restart policy of a container to `no`, so that the container stays stopped even if
    /// it cannot be removed and the Engine restarts. Returns the grace period of the container.
    async fn prepare_stop(&self, member: &Member) -> Result<Duration, String> {
        let Container { id, name, .. } = &member.container;
        let settings = self.context.settings;
        let prepared = async {
            let permit = self.stops.acquire().await;
            let inspected = match self.context.stop_settings.get(id) {
                Some(known) => known,
                None => {
                    (self.engine)
                        .call(|engine| async move { engine.inspect_stop(id).await })
                        .await?
                }
            };
            if inspected.restarts {
                self.disable_restart(id).await?;
            }
            drop(permit);
            Ok::<_, EngineError>(inspected)
        };
        match prepared.await {
            Ok(inspected) => Ok(inspected
                .grace
                .map_or(settings.grace, |own| own.min(settings.max_grace))),
            Err(error) if error.is_not_found() => Ok(settings.grace),
            Err(error) => Err(name_container(&error, id, name)),
        }
    }

    async fn disable_restart(&self, id: &str) -> Result<(), EngineError> {
        let engine = self.engine;
        engine
            .call(|engine| async move { engine.disable_restart(id).await })
            .await
    }

    /// Sets the restart policy of a decky's remaining containers to `no` a second time, if time
    /// permits, because the policy that was read before the stop may have been outdated.
    async fn keep_stopped(&self, members: &[Member]) {
        let updates = members.iter().map(async |member| {
            let _permit = self.stops.acquire().await;
            let disabled = self.disable_restart(&member.container.id).await;
            if let Some(error) = disabled.err().filter(|error| !error.is_not_found()) {
                tracing::warn!(operation_id = %self.operation, container = %member.container.name, "cannot keep the container stopped: {error}");
            }
        });
        // The result must still reach the controller before the operation's deadline.
        let _ = timeout(self.time_left(), join_all(updates)).await;
    }

    async fn stop(&self, container: &Container, grace: Duration) -> Result<(), String> {
        let Container { id, name, .. } = container;
        let _permit = self.stops.acquire().await;
        let stopped =
            (self.engine).call(|engine| async move { engine.stop_container(id, grace).await });
        let limit = self.time_left().max(grace + MIN_CALL_TIME);
        match timeout(limit, stopped).await {
            Ok(Err(error)) if !error.is_not_found() => Err(name_container(&error, id, name)),
            Ok(_) => Ok(()),
            Err(_) => Err(format!(
                "cannot stop container {name}: no response within {} s, and the operation's deadline is near",
                limit.as_secs()
            )),
        }
    }

    /// Removes a container. Returns the error if the container may be left.
    async fn remove(&self, member: &Member, is_stopped: bool) -> Option<String> {
        let Container { id, name, .. } = &member.container;
        let limit = self.time_left().max(BUSY_TIMEOUT);
        match timeout(limit, self.try_remove(id, is_stopped)).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(name_container(&error, id, name)),
            Err(_) => Some(format!(
                "cannot remove container {name}: not done within {} s, and the operation's deadline is near",
                limit.as_secs()
            )),
        }
    }

    async fn try_remove(&self, id: &str, is_stopped: bool) -> Result<(), EngineError> {
        let busy_until = Instant::now() + BUSY_TIMEOUT;
        let mut timeouts = 0;
        loop {
            let permit = self.context.removals.acquire().await;
            let removed = (self.engine)
                .call(|engine| async move { engine.remove_container(id).await })
                .await;
            drop(permit);
            let error = match removed {
                Err(error) if !error.is_not_found() => error,
                _ => return Ok(()),
            };
            timeouts += u32::from(error.is_timeout());
            let may_retry = if error.is_removal_in_progress() || error.is_timeout() {
                // The Engine may still be removing the container. A removal can take longer than
                // a call, so one timeout is allowed. No timeout is allowed if the container could
                // not be stopped, because its removal would hang as well.
                timeouts <= u32::from(is_stopped)
            } else {
                !error.is_unreachable() && Instant::now() < busy_until
            };
            if !may_retry {
                return Err(error);
            }
            tokio::time::sleep(RETRY_DELAY).await;
        }
    }

    /// Returns the time left for work, so that the result still reaches the controller before the
    /// operation's deadline. Returns zero if that time has passed.
    fn time_left(&self) -> Duration {
        let left_ms = self.not_after.millis_since(wall_clock()) - RESULT_TIME_MS;
        Duration::from_millis(u64::try_from(left_ms).unwrap_or(0))
    }
}

/// Formats an error with the name of the container in place of its id.
fn name_container(error: &EngineError, id: &str, name: &str) -> String {
    error.to_string().replace(id, name)
}
