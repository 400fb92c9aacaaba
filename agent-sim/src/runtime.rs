//! The simulated runtime: it takes its time, fails, and crashes its agent, as the seed decides.

use std::ops::RangeInclusive;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use scuttle_agent::{Inventory, ProgressSink, Runtime, RuntimeError, Teardown, TeardownReport};
use scuttle_schemas::agents::{ProgressStep, ReportedOutcome, ShardResult};
use scuttle_schemas::{DeckyId, HostId, OperationId, Text};
use tokio::sync::{Notify, watch};

use crate::chance::Chance;
use crate::world::{World, WorldError};

/// What is ordered of every host's runtime.
#[derive(Debug, Clone)]
pub struct Orders {
    /// The seed.
    pub chance: Chance,
    /// How long a teardown takes, in milliseconds.
    pub teardown_ms: RangeInclusive<u64>,
    /// The share of deckies that fail the first time.
    pub fail_rate: f64,
    /// The share of teardowns that crash the agent.
    pub crash_rate: f64,
    /// After how long a removed decky is deployed anew, in milliseconds; `None`: never.
    pub redeploy_ms: Option<RangeInclusive<u64>>,
}

/// One host's runtime. It outlives its agent's crashes.
#[derive(Debug)]
pub struct SimRuntime {
    host: HostId,
    orders: Orders,
    world: Mutex<World>,
    changes: watch::Sender<u64>,
    crash: Notify,
}

impl SimRuntime {
    /// A runtime over a world.
    pub fn new(host: HostId, orders: Orders, world: World) -> Self {
        Self {
            host,
            orders,
            world: Mutex::new(world),
            changes: watch::Sender::new(0),
            crash: Notify::new(),
        }
    }

    /// Returns when the agent is to crash.
    pub async fn crashed(&self) {
        self.crash.notified().await;
    }

    /// Whether what is removed is ever deployed anew.
    pub fn redeploys(&self) -> bool {
        self.orders.redeploy_ms.is_some()
    }

    /// Deploys anew what is due, and says how many deckies that were: none while the file cannot be written.
    pub fn redeploy(&self) -> u64 {
        let deployed = self.world().redeploy().unwrap_or(0);
        if deployed > 0 {
            self.changes.send_modify(|count| *count += 1);
        }
        deployed
    }

    /// How many deckies there are.
    pub fn deckies(&self) -> usize {
        self.world().inventory().len()
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn try_teardown(
        &self,
        teardown: Teardown,
        progress: &ProgressSink,
    ) -> Result<TeardownReport, WorldError> {
        let Orders {
            chance,
            teardown_ms,
            crash_rate,
            ..
        } = &self.orders;
        let begun = self
            .world()
            .begin(teardown.operation_id, teardown.decky_id.as_ref())?;
        let about = [self.host.as_str()];
        let crashes = !begun.resumed && chance.happens(*crash_rate, "crash", &about, begun.count);
        let whole = Duration::from_millis(chance.within(teardown_ms, "time", &about, begun.count));
        let total = begun.targets.len() as u32;
        // What takes no time has no steps to tell.
        let tell = |step, decky, done| {
            if !whole.is_zero() {
                progress.tell(step, decky, done, total);
            }
        };

        tell(ProgressStep::Stopping, None, 0);
        pass(whole.mul_f64(0.3)).await;
        let mut shards = Vec::new();
        for (done, decky) in (0..).zip(begun.targets) {
            if crashes && done == total / 2 {
                self.crash().await;
            }
            tell(ProgressStep::Removing, Some(decky.clone()), done);
            pass(whole.mul_f64(0.6) / total).await;
            shards.push(self.remove(teardown.operation_id, decky)?);
        }
        if crashes {
            self.crash().await;
        }
        tell(ProgressStep::Verifying, None, total);
        pass(whole.mul_f64(0.1)).await;
        self.look_again(&mut shards);
        Ok(TeardownReport {
            error: None,
            shards,
        })
    }

    /// The agent ends here: whoever waits for `crashed` drops it.
    async fn crash(&self) {
        self.crash.notify_one();
        std::future::pending::<()>().await;
    }

    fn remove(
        &self,
        operation_id: OperationId,
        decky_id: DeckyId,
    ) -> Result<ShardResult, WorldError> {
        let mut world = self.world();
        if !world.has(&decky_id) {
            return Ok(ShardResult {
                decky_id,
                outcome: ReportedOutcome::Absent,
                error: None,
            });
        }
        if world.fails(operation_id, &decky_id, self.orders.fail_rate)? {
            let error = self.believable_error(&decky_id);
            return Ok(ShardResult {
                decky_id,
                outcome: ReportedOutcome::Failed,
                error: Some(error),
            });
        }
        world.remove(operation_id, &decky_id, self.orders.redeploy_ms.as_ref())?;
        self.changes.send_modify(|count| *count += 1);
        Ok(ShardResult {
            decky_id,
            outcome: ReportedOutcome::Removed,
            error: None,
        })
    }

    fn look_again(&self, shards: &mut [ShardResult]) {
        let world = self.world();
        for shard in shards.iter_mut().filter(|shard| world.has(&shard.decky_id)) {
            shard.outcome = ReportedOutcome::Failed;
            shard
                .error
                .get_or_insert_with(|| Text::from("it is there again"));
        }
    }

    fn believable_error(&self, decky: &DeckyId) -> Text {
        let errors = [
            "network decnet_lan has active endpoints".to_owned(),
            format!("container {decky}-ssh is not responding"),
            format!(
                "could not kill container {decky}-http: tried to kill container, but did not receive an exit event"
            ),
        ];
        let choices = errors.each_ref().map(String::as_str);
        let about = [self.host.as_str(), decky.as_str()];
        Text::from(self.orders.chance.choose(&choices, "error", &about))
    }
}

impl Runtime for SimRuntime {
    async fn inventory(&self) -> Result<Inventory, RuntimeError> {
        Ok(self.world().inventory())
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

/// Lets time pass. (A timer makes a millisecond even of none.)
async fn pass(time: Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}
