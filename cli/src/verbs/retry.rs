//! `scuttle retry`: what could not be removed is asked for again, one decky at a time: a whole host would take with it what was
//! deployed there meanwhile.

use clap::Args;
use scuttle_schemas::OperationId;
use scuttle_schemas::operations::OperationRecord;
use scuttle_schemas::shards::{ShardRecord, ShardState, ShardsListRequest};

use super::ops::target;
use crate::ask::Bus;
use crate::connect::Connect;
use crate::failure::Failure;
use crate::output::Format;
use crate::request::{Order, Target, tear_down};
use crate::words::seconds;
use crate::{complete, lists, look};

/// Asks again for each decky whose teardown failed, and for nothing else.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  scuttle retry 01997c3e-5f1a-7c80-a2f4-0d6a7b5f1c11 --wait
  scuttle retry --host worker-a")]
pub(crate) struct Retry {
    /// What this operation left behind.
    #[arg(value_name = "ID", add = complete::operations(), required_unless_present = "host", conflicts_with = "host")]
    id: Option<OperationId>,
    /// All that failed on this host: its name or its id.
    #[arg(long, add = complete::hosts())]
    host: Option<String>,
    /// Stay until it has ended, and say what became of it.
    #[arg(long)]
    wait: bool,
    /// How long the host may take: 90s, 10m, 1h.
    #[arg(long, value_name = "TIME", value_parser = seconds, default_value = "10m")]
    timeout: u32,
    /// Why, for the record.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    nats: Connect,
}

impl Retry {
    pub(crate) async fn run(self, format: Format) -> Result<(), Failure> {
        let bus = Bus::connect(&self.nats.connection()?).await?;
        let (host_uuid, operation) = match (&self.id, &self.host) {
            (Some(id), _) => {
                let operation = lists::operation(&bus, *id).await?;
                (operation.host_uuid.clone(), Some(operation))
            }
            (None, host) => {
                let host = host.as_deref().unwrap_or_default();
                (lists::host(&bus, host).await?.host_uuid, None)
            }
        };
        if let Some(operation) = &operation
            && operation.finished_at.is_none()
        {
            return Err(Failure::Conflict(format!(
                "{} is {} still: there is nothing to retry before it has ended; `scuttle op {}` shows how far it is",
                operation.operation_id,
                look::operation(operation.state).word,
                operation.operation_id
            )));
        }
        let request = ShardsListRequest {
            host_uuid: Some(host_uuid),
            state: Some(ShardState::TeardownFailed),
            ..ShardsListRequest::default()
        };
        let shards = lists::shards(&bus, request).await?.shards;
        let targets = left(
            &shards,
            operation.as_ref().map(|operation| operation.operation_id),
        );
        if targets.is_empty() {
            eprintln!("Nothing to retry: {}.", why(&shards, operation.as_ref()));
        }
        let order = Order {
            timeout_s: self.timeout,
            reason: self.reason,
            expect_plan: None,
            wait: self.wait,
        };
        tear_down(&bus, format, &targets, &order).await
    }
}

/// What is to be asked for again, of shards whose teardown failed.
pub(crate) fn left(shards: &[ShardRecord], of: Option<OperationId>) -> Vec<Target> {
    let ours = |shard: &&ShardRecord| of.is_none_or(|id| shard.operation_id == Some(id));
    let failed = |shard: &&ShardRecord| shard.state == ShardState::TeardownFailed;
    let left = shards.iter().filter(failed).filter(ours);
    left.map(|shard| Target {
        host_uuid: shard.host_uuid.clone(),
        host_name: shard.host_name.clone(),
        decky_id: Some(shard.decky_id.clone()),
    })
    .collect()
}

fn why(failed: &[ShardRecord], operation: Option<&OperationRecord>) -> String {
    match operation {
        None => "no decky on this host is left from a teardown that failed".to_owned(),
        Some(operation) => {
            let state = look::operation(operation.state).word;
            let target = target(operation);
            let rest = if failed.is_empty() {
                "nothing of it is left".to_owned()
            } else {
                format!(
                    "what failed on {} is of other operations: `scuttle retry --host {}`",
                    operation.host_name, operation.host_name
                )
            };
            format!("the teardown of {target} has ended ({state}), and {rest}")
        }
    }
}

#[cfg(test)]
mod tests {
    use scuttle_schemas::shards::ShardRecord;
    use serde_json::json;

    use super::left;

    fn shard(decky: &str, state: &str, operation: Option<&str>) -> ShardRecord {
        serde_json::from_value(json!({
            "host_uuid": "h", "host_name": "worker-a", "decky_id": decky, "decky_ip": null, "services": [], "labels": {},
            "state": state, "last_error": null, "operation_id": operation, "last_seen": "2026-11-23T09:11:49.000Z",
            "updated_at": "2026-11-23T09:11:49.000Z", "revision": 1,
        }))
        .expect("a shard")
    }

    #[test]
    fn only_what_failed_is_asked_for_again() {
        let one = "01997c3e-5f1a-7c80-a2f4-0d6a7b5f1c11";
        let other = "01997c3e-5f1a-7c80-a2f4-0d6a7b5f1c12";
        let shards = [
            shard("failed", "teardown_failed", Some(one)),
            shard("others", "teardown_failed", Some(other)),
            shard("new", "running", None),
            shard("open", "tearing_down", Some(one)),
        ];
        let names = |of: Option<&str>| {
            let of = of.map(|id| id.parse().expect("an id"));
            let left = left(&shards, of);
            left.iter().map(super::Target::text).collect::<Vec<_>>()
        };
        assert_eq!(names(Some(one)), ["worker-a/failed"]);
        assert_eq!(names(None), ["worker-a/failed", "worker-a/others"]);
    }
}
