//! The simulated runtime. The seed decides how long its teardowns take, which removals fail, and
//! which teardowns crash the agent.

use std::ops::RangeInclusive;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use scuttle_agent::runtime::{
    Inventory, ProgressSink, Runtime, RuntimeError, Teardown, TeardownReport,
};
use scuttle_schemas::agents::{ProgressStep, ReportedOutcome, ShardResult};
use scuttle_schemas::{DeckyId, HostId, OperationId, Text};
use tokio::sync::{Notify, watch};

use crate::seeded_rng::SeededRng;
use crate::simulated_host::{SimulatedHost, SimulatedHostError};

/// The settings that the runtimes of all hosts share.
#[derive(Debug, Clone)]
pub struct RuntimeBehavior {
    pub rng: SeededRng,
    /// The minimum and maximum duration of a teardown, in milliseconds.
    pub teardown_ms: RangeInclusive<u64>,
    /// The share of deployments whose first teardown fails, from 0 to 1.
    pub fail_rate: f64,
    /// The share of teardowns that crash the agent, from 0 to 1.
    pub crash_rate: f64,
    /// The minimum and maximum delay before a removed decky is deployed again, in milliseconds.
    /// `None` if removed deckies are never deployed again.
    pub redeploy_ms: Option<RangeInclusive<u64>>,
}

/// The runtime of one host. It survives the crashes of its agent.
#[derive(Debug)]
pub struct SimulatedRuntime {
    host: HostId,
    behavior: RuntimeBehavior,
    simulated: Mutex<SimulatedHost>,
    changes: watch::Sender<u64>,
    crash: Notify,
}

impl SimulatedRuntime {
    pub fn new(host: HostId, behavior: RuntimeBehavior, simulated: SimulatedHost) -> Self {
        Self {
            host,
            behavior,
            simulated: Mutex::new(simulated),
            changes: watch::Sender::new(0),
            crash: Notify::new(),
        }
    }

    /// Waits until a teardown requests a crash of the agent.
    pub async fn wait_for_crash(&self) {
        self.crash.notified().await;
    }

    /// Returns whether removed deckies are ever deployed again.
    pub fn redeploys(&self) -> bool {
        self.behavior.redeploy_ms.is_some()
    }

    /// Deploys the removed deckies that are due, and returns their number. Returns 0 if a file of
    /// the host cannot be written.
    pub fn redeploy_due(&self) -> u64 {
        let deployed = self.simulated().redeploy_due().unwrap_or(0);
        if deployed > 0 {
            self.changes.send_modify(|count| *count += 1);
        }
        deployed
    }

    pub fn decky_count(&self) -> usize {
        self.simulated().inventory().shards.len()
    }

    fn simulated(&self) -> MutexGuard<'_, SimulatedHost> {
        self.simulated
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    async fn try_teardown(
        &self,
        teardown: Teardown,
        progress: &ProgressSink,
    ) -> Result<TeardownReport, SimulatedHostError> {
        let RuntimeBehavior {
            rng,
            teardown_ms,
            crash_rate,
            ..
        } = &self.behavior;
        let started = self
            .simulated()
            .start_teardown(teardown.operation_id, teardown.decky_id.as_ref())?;
        let about = [self.host.as_str()];
        let crashes = !started.resumed && rng.happens(*crash_rate, "crash", &about, started.count);
        let duration =
            Duration::from_millis(rng.draw_in(teardown_ms, "time", &about, started.count));
        let total = started.targets.len() as u32;
        // A teardown without duration has no steps to report.
        let report = |step, decky, done| {
            if !duration.is_zero() {
                progress.report(step, decky, done, total);
            }
        };

        report(ProgressStep::Stopping, None, 0);
        wait(duration.mul_f64(0.3)).await;
        let mut shards = Vec::new();
        for (done, decky) in (0..).zip(started.targets) {
            if crashes && done == total / 2 {
                self.crash().await;
            }
            report(ProgressStep::Removing, Some(decky.clone()), done);
            wait(duration.mul_f64(0.6) / total).await;
            shards.push(self.remove(teardown.operation_id, decky)?);
        }
        if crashes {
            self.crash().await;
        }
        report(ProgressStep::Verifying, None, total);
        wait(duration.mul_f64(0.1)).await;
        self.verify(&mut shards);
        self.simulated().end_teardown(teardown.operation_id)?;
        Ok(TeardownReport {
            error: None,
            shards,
        })
    }

    /// Requests a crash of the agent and never returns. The task that awaits `wait_for_crash` drops
    /// the agent.
    async fn crash(&self) {
        self.crash.notify_one();
        std::future::pending::<()>().await;
    }

    fn remove(
        &self,
        operation_id: OperationId,
        decky_id: DeckyId,
    ) -> Result<ShardResult, SimulatedHostError> {
        let mut simulated = self.simulated();
        if !simulated.has_decky(&decky_id) {
            return Ok(ShardResult {
                decky_id,
                outcome: ReportedOutcome::Absent,
                error: None,
                evidence: None,
            });
        }
        if simulated.draw_failure(operation_id, &decky_id, self.behavior.fail_rate)? {
            let error = self.invent_error(&decky_id);
            return Ok(ShardResult {
                decky_id,
                outcome: ReportedOutcome::Failed,
                error: Some(error),
                evidence: None,
            });
        }
        simulated.remove(operation_id, &decky_id, self.behavior.redeploy_ms.as_ref())?;
        self.changes.send_modify(|count| *count += 1);
        Ok(ShardResult {
            decky_id,
            outcome: ReportedOutcome::Removed,
            error: None,
            evidence: None,
        })
    }

    fn verify(&self, shards: &mut [ShardResult]) {
        let simulated = self.simulated();
        for shard in shards
            .iter_mut()
            .filter(|shard| simulated.has_decky(&shard.decky_id))
        {
            shard.outcome = ReportedOutcome::Failed;
            shard
                .error
                .get_or_insert_with(|| Text::from("deployed again during the teardown"));
        }
    }

    fn invent_error(&self, decky: &DeckyId) -> Text {
        let errors = [
            "network decnet_lan has active endpoints".to_owned(),
            format!("container {decky}-ssh is not responding"),
            format!(
                "could not kill container {decky}-http: tried to kill container, but did not receive an exit event"
            ),
        ];
        let choices = errors.each_ref().map(String::as_str);
        let about = [self.host.as_str(), decky.as_str()];
        Text::from(self.behavior.rng.choose(&choices, "error", &about))
    }
}

impl Runtime for SimulatedRuntime {
    async fn inventory(&self) -> Result<Inventory, RuntimeError> {
        Ok(self.simulated().inventory())
    }

    async fn teardown(&self, teardown: Teardown, progress: ProgressSink) -> TeardownReport {
        self.try_teardown(teardown, &progress)
            .await
            .unwrap_or_else(|error| TeardownReport {
                error: Some(Text::from(error.to_string().as_str())),
                shards: Vec::new(),
            })
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

/// Waits for `time`. Sets no timer if `time` is zero, because even such a timer takes up to a
/// millisecond.
async fn wait(time: Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}
